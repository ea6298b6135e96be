// SPDX-License-Identifier: MIT
pragma solidity 0.8.27;

import {Aggregator} from "./Aggregator.sol";

/// What a protocol reads: it forwards to the aggregator of its phase and never logs anything.
contract AggregatorProxy {
    Aggregator public aggregator;
    uint16 public phaseId;
    string public description;

    constructor(Aggregator aggregator_, string memory description_) {
        aggregator = aggregator_;
        phaseId = 1;
        description = description_;
    }

    /// Begin a new phase behind the same address, silently.
    function swap(Aggregator aggregator_) external {
        aggregator = aggregator_;
        phaseId += 1;
    }

    function decimals() external view returns (uint8) {
        return aggregator.decimals();
    }

    function latestAnswer() external view returns (int256) {
        return aggregator.latestAnswer();
    }

    function latestRoundData()
        external
        view
        returns (uint80 roundId, int256 answer, uint256 startedAt, uint256 updatedAt, uint80 answeredInRound)
    {
        roundId = uint80((uint256(phaseId) << 64) | aggregator.latestRound());
        updatedAt = aggregator.latestTimestamp();
        return (roundId, aggregator.latestAnswer(), updatedAt, updatedAt, roundId);
    }
}
