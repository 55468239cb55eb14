#!/bin/sh
# Starts authsome in the Python that it is installed with, isolated (-I) from the first instruction on.
#
# The program that an installer makes for an entry point starts Python without -I: what PYTHONPATH, the working
# folder or the user's site-packages hold, such as sitecustomize.py, then runs outside of every run, before any
# line of ours. PATH can lead into a project as well, so only built-ins and `command -p` are used here. A name
# that is exported would reach the program changed, hence the prefix.

authsome_self=$0
case $authsome_self in */*) ;; *) authsome_self=./$authsome_self ;; esac
while [ -h "$authsome_self" ]; do
    authsome_target=$(command -p readlink -- "$authsome_self") || exit 125
    case $authsome_target in
    /*) authsome_self=$authsome_target ;;
    *) authsome_self=${authsome_self%/*}/$authsome_target ;;
    esac
done
authsome_bin=${authsome_self%/*}

if [ -e "$authsome_bin/../pyvenv.cfg" ] && [ -x "$authsome_bin/python" ]; then
    exec "$authsome_bin/python" -I -m launcher "$@"
fi

# Not in an environment of its own, such as after `pip install --user`: the folder of the libraries names the
# version of its Python. With -I that one does not look there by itself; launcher/__main__.py sees to it.
for authsome_main in "$authsome_bin"/../lib/python3.*/*-packages/launcher/__main__.py; do
    authsome_python=${authsome_main%/*-packages/launcher/__main__.py}
    authsome_python=${authsome_python##*/}
    for authsome_folder in "$authsome_bin" /usr/local/bin /usr/bin; do
        if [ -e "$authsome_main" ] && [ -x "$authsome_folder/$authsome_python" ]; then
            exec "$authsome_folder/$authsome_python" -I "$authsome_main" "$@"
        fi
    done
done

echo "authsome: error: there is no Python for $authsome_self" >&2
echo "authsome: hint: install authsome in an environment of its own, such as with 'make setup'" >&2
exit 125
