#!/usr/bin/env bash
# Compiles the QAT model to an object, links it into a C program, runs that on the test set.
# CPU: the level to compile for (qcc targets lists them); OUT: a folder for the results; QCC: the command.
set -euo pipefail
cd "$(dirname "$0")"
out=${OUT:-$(mktemp -d)}
[ -n "${OUT:-}" ] || trap 'rm -rf "$out"' EXIT
mkdir -p "$out"
qcc() {
  if [ -n "${QCC:-}" ]; then "$QCC" "$@"; else cargo run --quiet --release -p qcc --bin qcc -- "$@"; fi
}

for file in digits_qat.o digits_qat.h; do
  qcc compile digits_qat.pb --symbol digits_qat --cpu "${CPU:-baseline}" --require-integer -o "$out/$file"
done
gcc -std=c11 -O2 -Wall -Wextra -I "$out" main.c "$out/digits_qat.o" -o "$out/digits_qat"
"$out/digits_qat" < testset.bin
