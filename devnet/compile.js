// Compile what stdin asks for: {compiler, root, sources, remappings, evmVersion}; the compiler is a
// folder of node_modules, paths are relative to root.
// Print {name: {abi, bytecode, links}} as JSON; links are byte offsets by library.
"use strict";

const { existsSync, readFileSync } = require("node:fs");
const { join } = require("node:path");

const { compiler, root, sources, remappings, evmVersion } = JSON.parse(readFileSync(0, "utf8"));
const solc = require(compiler);
const read = (path) => readFileSync(join(root, path), "utf8");
const find = (path) =>
  existsSync(join(root, path)) ? { contents: read(path) } : { error: `${path} is missing` };
const wanted = ["abi", "evm.bytecode.object", "evm.bytecode.linkReferences"];
const input = {
  language: "Solidity",
  sources: Object.fromEntries(sources.map((path) => [path, { content: read(path) }])),
  settings: {
    evmVersion,
    remappings,
    optimizer: { enabled: true, runs: 200 },
    outputSelection: Object.fromEntries(sources.map((path) => [path, { "*": wanted }])),
  },
};
const output = JSON.parse(solc.compile(JSON.stringify(input), { import: find }));
const errors = (output.errors ?? []).filter(({ severity }) => severity === "error");
if (errors.length > 0) {
  console.error(errors.map(({ formattedMessage }) => formattedMessage).join("\n"));
  process.exit(1);
}

const starts = (places) => places.map(({ start }) => start);
const links = ({ linkReferences }) =>
  Object.fromEntries(
    Object.values(linkReferences)
      .flatMap(Object.entries)
      .map(([library, places]) => [library, starts(places)]),
  );
const contract = ({ abi, evm: { bytecode } }) => ({
  abi,
  bytecode: `0x${bytecode.object}`,
  links: links(bytecode),
});
const contracts = sources.flatMap((path) => Object.entries(output.contracts[path]));
console.log(JSON.stringify(Object.fromEntries(contracts.map(([name, c]) => [name, contract(c)]))));
