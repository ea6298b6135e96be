// SPDX-License-Identifier: MIT
pragma solidity 0.8.27;

/// Prices by vToken, in the scale of Venus: 10^(36 - decimals) for one dollar. It serves as the
/// spot oracle and as the bounded one, logs nothing, and can be made to fail for one vToken.
contract VenusOracle {
    error Dead(address vToken);

    mapping(address => uint256) private _price;
    mapping(address => bool) private _dead;

    function set(address vToken, uint256 price) external {
        _price[vToken] = price;
    }

    function kill(address vToken, bool dead) external {
        _dead[vToken] = dead;
    }

    function getUnderlyingPrice(address vToken) public view returns (uint256) {
        if (_dead[vToken]) revert Dead(vToken);
        return _price[vToken];
    }

    function getBoundedPricesView(address vToken) external view returns (uint256, uint256) {
        uint256 price = getUnderlyingPrice(vToken);
        return (price, price);
    }

    function updateProtectionState(address vToken) external {}
}
