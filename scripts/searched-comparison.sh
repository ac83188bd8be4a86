#!/usr/bin/env bash
# Searches settings for every model with the same budget, then compares all of them with what was found.
#
#   scripts/searched-comparison.sh DATA OUT [flag of waata search and waata compare]...
#   MODELS=waa-ta,mmoe,ease TRIALS=27 BUDGET=9 FIRST_RUNG=3 SEEDS=5 SPACE=ranges.toml scripts/searched-comparison.sh D OUT --threads 2
#
# Only the validation part is looked at in a search. The ablations get the settings found for waa-ta, so that they differ
# from it in what they leave out alone. Popularity has nothing to search. Run again, it goes on where it was stopped.
set -euo pipefail

here=$(cd "$(dirname "$0")/.." && pwd)
waata=${WAATA:-$here/target/release/waata}
[ $# -ge 2 ] || { sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2; }
data=$1 out=$2
shift 2
trials=${TRIALS:-9} budget=${BUDGET:-9} seeds=${SEEDS:-3}
models=${MODELS:-waa-ta,waa-ta1,waa-ta2,waa-ta3,mmoe,ple,fdn,esmm,esm2,ctcvr,single-task,shared-bottom,popularity,itemknn,ease,bpr-mf,lightgcn}
space=()
[ -z "${SPACE:-}" ] || space=(--space "$SPACE")

mkdir -p "$out/search"
found=()
for model in ${models//,/ }; do
    case $model in
    popularity) continue ;;
    waa-ta[123])
        # What was found for waa-ta has a weight for the constraint that waa-ta3 is without, and waa-ta2, too.
        [ -f "$out/search/waa-ta/best.toml" ] || continue
        sed '/^"\?\(loss\.\)\?orth_weight"\? *=/d' "$out/search/waa-ta/best.toml" >"$out/search/ablations.toml"
        [ "$model" = waa-ta1 ] && from=waa-ta/best.toml || from=ablations.toml
        found+=(--settings-for "$model=$out/search/$from")
        continue
        ;;
    esac
    "$waata" search --data "$data" --model "$model" --trials "$trials" --budget "$budget" \
        --first-rung "${FIRST_RUNG:-1}" "${space[@]}" \
        --out "$out/search/$model" "$@" && status=0 || status=$?
    if [ $status = 130 ]; then exit 130; fi
    # A model that has no use for the data, such as esm2 without a third behaviour: the comparison says so.
    if [ $status != 0 ]; then echo "search of $model ended with $status: compared as it stands" >&2; continue; fi
    found+=(--settings-for "$model=$out/search/$model/best.toml")
done
"$waata" compare --data "$data" --models "$models" --seeds "$seeds" "${found[@]}" --out "$out/compare" "$@"
"$waata" report "$out/compare"
