#!/bin/sh
# Fetches the validators of compose.yaml and of the Kubernetes manifest from PyPI into <target directory>/validators.
# What can't be had is said in a line and is no error: the tests then say that they did not run.
set -eu
cd "$(dirname "$0")/.."

home=${CARGO_TARGET_DIR:-target}/validators
[ ! -x "$home/bin/check-jsonschema" ] || [ ! -x "$home/bin/kubernetes-validate" ] || exit 0
if ! python3 -m venv "$home" 2>/dev/null; then
    echo 'validators: not fetched: python3 has no venv here'
    rm -rf "$home"
elif ! "$home/bin/pip" install --quiet --disable-pip-version-check check-jsonschema kubernetes-validate >/dev/null 2>&1; then
    echo 'validators: not fetched: the package registry does not answer'
fi
