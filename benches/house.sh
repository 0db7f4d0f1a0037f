#!/bin/sh
# Prints the figures of the source: how much there is, and how findable its names are. Run from the project's root.
set -eu
production() {
    git ls-files src | grep -E '\.(rs|php)$' |
        grep -vE '/tests?(\.rs|/)|_tests\.rs|/(cases|generated|score|truth|fixtures|properties)\.rs'
}
functions() { production | grep '\.rs$' | xargs grep -ohE '\bfn [a-z0-9_]+' | cut -d ' ' -f 2; }
# What stands behind #[cfg(test)] is one line (`mod tests;`), or a block that ends in the first column.
echo "lines that are no test: $(production | xargs awk '
    FNR == 1 { test = "" }
    test == "first" { test = /;$/ ? "last" : "block" }
    test == "block" && /^}/ { test = "last" }
    /^#\[cfg\(test\)\]/ && test == "" { test = "first" ; next }
    test == "" { lines++ }
    test == "last" { test = "" }
    END { print lines }')"
echo "lines of PHP: $(git ls-files src | grep '\.php$' | xargs cat | wc -l)"
echo "functions: $(functions | wc -l), of one word: $(functions | grep -cv _)"
echo "names that one function has: $(functions | sort | uniq -u | wc -l)"
