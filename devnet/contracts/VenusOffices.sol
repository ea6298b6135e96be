// SPDX-License-Identifier: MIT
pragma solidity 0.8.27;

/// Stands in for the access control: one owner may do everything.
contract VenusAccess {
    address private immutable _owner = msg.sender;

    function isAllowedToCall(address caller, string calldata) external view returns (bool) {
        return caller == _owner;
    }
}

/// Stands in for the treasury that reserves are sent to.
contract VenusShareReserve {
    function updateAssetsState(address comptroller, address asset, uint8 kind) external {}
}
