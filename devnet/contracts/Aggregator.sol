// SPDX-License-Identifier: MIT
pragma solidity 0.8.27;

/// A price source whose rounds are written by whoever runs the stage.
contract Aggregator {
    event AnswerUpdated(int256 indexed current, uint256 indexed roundId, uint256 updatedAt);

    uint8 public immutable decimals;
    int256 public latestAnswer;
    uint256 public latestRound;
    uint256 public latestTimestamp;

    constructor(uint8 decimals_, int256 answer) {
        decimals = decimals_;
        latestAnswer = answer;
        latestRound = 1;
        latestTimestamp = block.timestamp;
    }

    function set(int256 answer) external {
        latestAnswer = answer;
        latestRound += 1;
        latestTimestamp = block.timestamp;
        emit AnswerUpdated(answer, latestRound, block.timestamp);
    }
}
