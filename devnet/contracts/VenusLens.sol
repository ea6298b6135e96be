// SPDX-License-Identifier: MIT
pragma solidity 0.8.27;

interface VenusComptroller {
    function getAssetsIn(address account) external view returns (address[] memory);
    function userPoolId(address account) external view returns (uint96);
}

interface VenusMarket {
    function getAccountSnapshot(
        address account
    ) external view returns (uint256, uint256, uint256, uint256);
}

/// Asks for many accounts at once what the contracts of Venus say about each.
contract VenusLens {
    uint256 private constant SNAPSHOT = 4;

    /// Words by account: its pool; the places (from 1) in `vTokens` of the markets it is in, one
    /// byte each, the first one highest; then the snapshot of every vToken, four words each.
    function positions(
        VenusComptroller comptroller,
        address[] calldata users,
        address[] calldata vTokens
    ) external view returns (uint256[] memory words) {
        uint256 width = 2 + SNAPSHOT * vTokens.length;
        words = new uint256[](users.length * width);
        for (uint256 i; i < users.length; ++i) {
            uint256 at = i * width;
            words[at] = comptroller.userPoolId(users[i]);
            words[at + 1] = _places(comptroller.getAssetsIn(users[i]), vTokens);
            for (uint256 j; j < vTokens.length; ++j) {
                _snapshot(words, at + 2 + SNAPSHOT * j, VenusMarket(vTokens[j]), users[i]);
            }
        }
    }

    /// Words by account: whether the view of that selector answers, and the three of its answer.
    function views(
        address comptroller,
        bytes4 selector,
        address[] calldata users
    ) external view returns (uint256[] memory words) {
        words = new uint256[](users.length * 4);
        for (uint256 i; i < users.length; ++i) {
            (bool fine, bytes memory answer) = comptroller.staticcall(
                abi.encodeWithSelector(selector, users[i])
            );
            if (!fine) continue;
            words[4 * i] = 1;
            (words[4 * i + 1], words[4 * i + 2], words[4 * i + 3]) = abi.decode(
                answer,
                (uint256, uint256, uint256)
            );
        }
    }

    function _snapshot(
        uint256[] memory words,
        uint256 at,
        VenusMarket vToken,
        address user
    ) private view {
        (words[at], words[at + 1], words[at + 2], words[at + 3]) = vToken.getAccountSnapshot(user);
    }

    function _places(
        address[] memory entered,
        address[] calldata vTokens
    ) private pure returns (uint256 places) {
        for (uint256 i; i < entered.length; ++i) {
            for (uint256 j; j < vTokens.length; ++j) {
                if (entered[i] == vTokens[j]) places = (places << 8) | (j + 1);
            }
        }
    }
}
