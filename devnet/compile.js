// Compile the Solidity files named on the command line; print {name: {abi, bytecode}} as JSON.
"use strict";

const { readFileSync } = require("node:fs");
const { basename } = require("node:path");
const solc = require("solc");

const sources = Object.fromEntries(
  process.argv.slice(2).map((path) => [basename(path), { content: readFileSync(path, "utf8") }]),
);
const input = {
  language: "Solidity",
  sources,
  settings: {
    evmVersion: "paris",
    optimizer: { enabled: true, runs: 200 },
    outputSelection: { "*": { "*": ["abi", "evm.bytecode.object"] } },
  },
};
const output = JSON.parse(solc.compile(JSON.stringify(input)));
const errors = (output.errors ?? []).filter(({ severity }) => severity === "error");
if (errors.length > 0) {
  console.error(errors.map(({ formattedMessage }) => formattedMessage).join("\n"));
  process.exit(1);
}
const contracts = Object.values(output.contracts).flatMap(Object.entries);
console.log(
  JSON.stringify(
    Object.fromEntries(
      contracts.map(([name, { abi, evm }]) => [name, { abi, bytecode: `0x${evm.bytecode.object}` }]),
    ),
  ),
);
