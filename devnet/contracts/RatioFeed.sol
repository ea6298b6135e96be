// SPDX-License-Identifier: MIT
pragma solidity 0.8.27;

interface IBaseFeed {
    function latestAnswer() external view returns (int256);
}

/// The price of a wrapped token: its base feed times a ratio that grows every second, with no log.
contract RatioFeed {
    IBaseFeed public immutable base;
    uint256 public immutable startRatio;
    uint256 public immutable growthPerSecond;
    uint256 public immutable since;
    uint8 public constant decimals = 8;

    constructor(IBaseFeed base_, uint256 startRatio_, uint256 growthPerSecond_) {
        base = base_;
        startRatio = startRatio_;
        growthPerSecond = growthPerSecond_;
        since = block.timestamp;
    }

    /// Underlying per wrapped token, 18 decimals.
    function ratio() public view returns (uint256) {
        return startRatio + growthPerSecond * (block.timestamp - since);
    }

    function latestAnswer() external view returns (int256) {
        return (base.latestAnswer() * int256(ratio())) / 1e18;
    }
}
