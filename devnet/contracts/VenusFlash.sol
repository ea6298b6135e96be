// SPDX-License-Identifier: MIT
pragma solidity 0.8.27;

interface FlashMarket {
    function underlying() external view returns (address);
}

interface FlashToken {
    function mint(address to, uint256 value) external;
    function approve(address spender, uint256 value) external returns (bool);
}

/// Takes a flash loan and gives back as many percent of what is due as the caller says; the rest
/// becomes a debt of the account on whose behalf it was taken.
contract VenusFlash {
    function executeOperation(
        address[] calldata vTokens,
        uint256[] calldata amounts,
        uint256[] calldata premiums,
        address,
        address,
        bytes calldata percent
    ) external returns (bool, uint256[] memory given) {
        given = new uint256[](vTokens.length);
        for (uint256 i; i < vTokens.length; ++i) {
            given[i] = ((amounts[i] + premiums[i]) * abi.decode(percent, (uint256))) / 100;
            FlashToken token = FlashToken(FlashMarket(vTokens[i]).underlying());
            token.mint(address(this), premiums[i]);
            token.approve(vTokens[i], given[i]);
        }
        return (true, given);
    }
}
