// SPDX-License-Identifier: MIT
pragma solidity 0.8.27;

import {MorphoPurse} from "./MorphoPurse.sol";

/// The ways in which a contract can be asked a question and do harm with its answer.
abstract contract Mischief {
    uint8 internal constant HONEST = 0;
    uint8 internal constant REVERTING = 1;
    uint8 internal constant ENDLESS = 2;
    uint8 internal constant HUGE = 3;
    uint8 internal constant HUGE_REVERT = 4;
    uint8 internal constant SHORT = 5;
    uint256 internal constant MEGABYTE = 1 << 20;

    /// Never comes back but with the word for HONEST.
    function answer(uint8 mode, uint256 word) internal pure {
        require(mode != REVERTING, "no");
        assembly ("memory-safe") {
            if eq(mode, ENDLESS) { for {} 1 {} {} }
            let place := mload(0x40)
            mstore(place, word)
            if eq(mode, HUGE) { return(place, MEGABYTE) }
            if eq(mode, HUGE_REVERT) { revert(place, MEGABYTE) }
            if eq(mode, SHORT) { return(place, 17) }
            return(place, 32)
        }
    }
}

/// An oracle that is honest until whoever runs the stage turns it.
contract MorphoHostileOracle is Mischief {
    uint8 public mode;
    uint256 public word;

    constructor(uint256 word_) {
        word = word_;
    }

    function turn(uint8 mode_, uint256 word_) external {
        mode = mode_;
        word = word_;
    }

    function price() external view returns (uint256) {
        answer(mode, word);
        return 0;
    }
}

/// A token that can be held and moved, but whose symbol and decimals are traps.
contract MorphoHostileToken is MorphoPurse, Mischief {
    uint8 public immutable mode;
    uint256 public immutable word;

    constructor(address market_, uint8 mode_, uint256 word_) MorphoPurse(market_) {
        mode = mode_;
        word = word_;
    }

    fallback() external {
        answer(mode, word);
    }
}
