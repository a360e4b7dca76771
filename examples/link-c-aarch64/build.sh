#!/usr/bin/env bash
# As link-c-x86_64, cross-compiled for 64-bit Arm Linux and run under qemu.
# CPU: the level to compile for (qcc targets lists them); OUT: a folder for the results.
set -euo pipefail
cd "$(dirname "$0")"
for tool in aarch64-linux-gnu-gcc qemu-aarch64; do
  command -v "$tool" > /dev/null || {
    echo "$tool is missing; on Debian: apt-get install gcc-aarch64-linux-gnu qemu-user" >&2
    exit 1
  }
done
out=${OUT:-$(mktemp -d)}
[ -n "${OUT:-}" ] || trap 'rm -rf "$out"' EXIT
mkdir -p "$out"
model=../digits/digits.tflite
target=(--target aarch64-unknown-linux-gnu --cpu "${CPU:-dotprod}")
qcc() { cargo run --quiet --release -p qcc --bin qcc -- "$@"; }

qcc compile "$model" --symbol digits "${target[@]}" -o "$out/digits.o"
qcc compile "$model" --symbol digits "${target[@]}" -o "$out/digits.h"
aarch64-linux-gnu-gcc -std=c11 -O2 -Wall -Wextra -static -I "$out" \
  ../link-c-x86_64/main.c "$out/digits.o" -o "$out/digits"
qemu-aarch64 -cpu max "$out/digits" < ../digits/testset_images.bin
