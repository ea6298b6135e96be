// SPDX-License-Identifier: MIT
pragma solidity 0.8.27;

import {MorphoPurse} from "./MorphoPurse.sol";

/// A token that tells its symbol and its decimals.
contract MorphoToken is MorphoPurse {
    string public symbol;
    uint8 public immutable decimals;

    constructor(address market_, string memory symbol_, uint8 decimals_) MorphoPurse(market_) {
        symbol = symbol_;
        decimals = decimals_;
    }

    function name() external view returns (string memory) {
        return symbol;
    }
}
