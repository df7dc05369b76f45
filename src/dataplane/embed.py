"""Writes a binary file as a C array: embed.py INPUT OUTPUT NAME."""

import sys

source, target, name = sys.argv[1:]
with open(source, "rb") as file:
    data = file.read()
with open(target, "w") as file:
    file.write("// Made by embed.py.\n#pragma once\n")
    file.write(f"alignas(8) inline constexpr unsigned char {name}[] = {{\n")
    for at in range(0, len(data), 16):
        file.write("  " + ", ".join(str(byte) for byte in data[at : at + 16]) + ",\n")
    file.write("};\n")
