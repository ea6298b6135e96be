"""The blocks applied last, by which a change of branch is recognised. Pure."""

from __future__ import annotations

from collections import OrderedDict

from chimera.domain.block import Block, BlockHash


class Trail:
    """
    The newest `window` + 1 applied blocks: the tip, and as far back as can be undone.

    It starts with one block that was never applied here, but on which everything builds.
    """

    def __init__(self, start: Block, *, window: int) -> None:
        self._blocks: OrderedDict[BlockHash, Block] = OrderedDict({start.hash: start})
        self._window = window
        self.tip = start

    @property
    def oldest(self) -> Block:
        """The deepest block that can still be an ancestor."""
        return next(iter(self._blocks.values()))

    def find(self, block_hash: BlockHash) -> Block | None:
        """Return the block with this hash, None when it is not on the trail."""
        return self._blocks.get(block_hash)

    def carries(self, block: Block) -> bool:
        """Tell whether `block` is the next one on the tip."""
        return block.parent_hash == self.tip.hash and block.number == self.tip.number + 1

    def extend(self, block: Block) -> None:
        """
        Make `block` the tip.

        Raises:
            ValueError: It does not build on the tip.
        """
        if not self.carries(block):
            raise ValueError(f"block {block.number} does not build on {self.tip.number}")
        self._blocks[block.hash] = self.tip = block
        if len(self._blocks) > self._window + 1:
            self._blocks.popitem(last=False)

    def rewind(self, ancestor: Block) -> int:
        """
        Make `ancestor` the tip again and return how many blocks that undid.

        Raises:
            KeyError: It is not on the trail.
        """
        known = self._blocks[ancestor.hash]
        undone = self.tip.number - known.number
        while self.tip is not known:
            self._blocks.popitem()
            self.tip = next(reversed(self._blocks.values()))
        return undone
