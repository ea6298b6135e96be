// SPDX-License-Identifier: MIT
pragma solidity 0.8.27;

interface IMorphoFeed {
    function latestAnswer() external view returns (int256);
}

/// Raw loan units per raw collateral unit, times 1e36, out of two feeds of equal decimals. No logs.
contract MorphoOracle {
    IMorphoFeed public immutable base;
    IMorphoFeed public immutable quote;
    uint256 public immutable scale;

    constructor(IMorphoFeed base_, IMorphoFeed quote_, uint256 scale_) {
        base = base_;
        quote = quote_;
        scale = scale_;
    }

    /// Reverts where a feed is negative, or the quote is 0.
    function price() external view returns (uint256) {
        return (scale * read(base)) / read(quote);
    }

    function read(IMorphoFeed feed) private view returns (uint256) {
        int256 answer = feed.latestAnswer();
        require(answer >= 0, "negative answer");
        return uint256(answer);
    }
}
