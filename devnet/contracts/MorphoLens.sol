// SPDX-License-Identifier: MIT
pragma solidity 0.8.27;

struct MorphoParams {
    address loanToken;
    address collateralToken;
    address oracle;
    address irm;
    uint256 lltv;
}

struct MorphoTotals {
    uint128 supplyAssets;
    uint128 supplyShares;
    uint128 borrowAssets;
    uint128 borrowShares;
    uint128 lastUpdate;
    uint128 fee;
}

interface IMorphoSingleton {
    function market(bytes32 id) external view returns (MorphoTotals memory);
    function accrueInterest(MorphoParams memory params) external;
}

/// What a market is at a block: as stored, as accrued by the market itself, and its oracle's answer.
contract MorphoLens {
    struct Look {
        MorphoTotals stored;
        MorphoTotals accrued;
        bool accrues;
        bool answers;
        uint256 price;
    }

    /// For a simulation only: it accrues every market on its way.
    function look(IMorphoSingleton morpho, MorphoParams[] memory markets, uint256 priceGas)
        external
        returns (Look[] memory found)
    {
        found = new Look[](markets.length);
        for (uint256 i; i < markets.length; ++i) {
            bytes32 id = keccak256(abi.encode(markets[i]));
            found[i].stored = morpho.market(id);
            try morpho.accrueInterest(markets[i]) {
                found[i].accrues = true;
            } catch {}
            found[i].accrued = morpho.market(id);
            (found[i].answers, found[i].price) = ask(markets[i].oracle, priceGas);
        }
    }

    /// One word is taken of an answer, however long it is: so does the market.
    function ask(address oracle, uint256 priceGas) private view returns (bool fine, uint256 price) {
        bytes memory question = abi.encodeWithSignature("price()");
        assembly ("memory-safe") {
            fine := staticcall(priceGas, oracle, add(question, 32), mload(question), 0, 32)
            fine := and(fine, gt(returndatasize(), 31))
            if fine { price := mload(0) }
        }
    }
}
