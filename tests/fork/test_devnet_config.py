"""The shipped configuration of the local chain."""

from chimera.settings import load, shipped_config
from devnet.aave import DEPLOYER, deploy
from devnet.anvil import CHAIN_ID, Anvil
from devnet.node import Node


def test_the_shipped_configuration_names_what_a_new_stage_deploys() -> None:
    settings = load(shipped_config() / "devnet.toml")

    with Anvil() as anvil, Node(anvil.http) as node:
        node.install_multicall3(DEPLOYER)
        market = deploy(node)

        assert settings.chain.id == CHAIN_ID
        assert settings.protocols[0].address == market.provider.address
