#!/bin/bash
# mixed.sh DIR SECONDS: what a developer's machine or a small server does, SECONDS of each part, one after
# the other: compiling, unpacking packages, shell scripts, SQLite, Redis, PostgreSQL. Prints the names of
# the parts that ran; a part whose programs are not installed is left out. Everything stays below DIR.
set -u
dir=$1 seconds=$2
mkdir -p "$dir" && cd "$dir" || exit 1
chmod 755 .
export HOME=$dir TMPDIR=$dir LC_ALL=C

# A server that outlived its part ends with us.
trap 'running=$(jobs -p); [ -z "$running" ] || kill $running 2>/dev/null; wait' EXIT

have() { for program in "$@"; do command -v "$program" >/dev/null || return 1; done; }
# Repeats a part until its time is over.
for_its_time() { local end=$((SECONDS + seconds)); while [ $SECONDS -lt $end ]; do "$@" || return 1; done; }

build() {
    rm -rf build && mkdir build
    for n in 1 2 3 4 5 6 7 8; do
        printf '#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n#include <sys/socket.h>\nint f%s(int a) { printf("%%d", a); return a * %s; }\n' $n $n >build/f$n.c
        cc -O1 -c build/f$n.c -o build/f$n.o || return 1
    done
    printf 'int f1(int);int main(void){return f1(0);}\n' >build/main.c
    cc -O1 build/*.o build/main.c -o build/program && ./build/program >/dev/null
}

pack() {
    mkdir -p package/DEBIAN
    printf 'Package: benchload\nVersion: 1\nArchitecture: all\nMaintainer: nobody <nobody@localhost>\nDescription: files to unpack\n' >package/DEBIAN/control
    dpkg -L coreutils perl-base 2>/dev/null | while read -r file; do
        [ -f "$file" ] && cp --parents "$file" package/
    done
    dpkg-deb --build --root-owner-group -Zgzip package load.deb >/dev/null
}
install_package() {
    rm -rf root && mkdir -p root/var/lib/dpkg/updates root/var/lib/dpkg/info && : >root/var/lib/dpkg/status
    dpkg --root="$dir/root" --force-all --install load.deb >/dev/null 2>&1
    dpkg --root="$dir/root" --force-all --remove benchload >/dev/null 2>&1
}

scripts() {
    find /usr/share /etc -name '*.conf' 2>/dev/null | while read -r file; do
        words=$([ -f "$file" ] && wc -w <"$file")
        [ "${words:-0}" -gt 200 ] && sed -n 's/#.*//;/=/p' "$file" | sort | uniq -c | awk '{ n += $1 } END { print n }'
    done >counts
    tar -cf docs.tar /usr/share/doc/coreutils /usr/share/doc/bash 2>/dev/null
    gzip -f docs.tar && tar -tzf docs.tar.gz | grep -c . >>counts
}

sqlite() {
    { echo 'create table if not exists t(k integer primary key, v text);'
      for ((n = 0; n < 200; n++)); do echo "insert into t(v) values('value $RANDOM');"; done
      echo 'select count(*), avg(k) from t where v like "%7%";'
    } | sqlite3 load.db >/dev/null
}

redis() {
    redis-server --port 0 --unixsocket "$dir/redis.sock" --dir "$dir" --save 1 100 --appendonly yes --daemonize no >/dev/null 2>&1 &
    local server=$!
    for _ in $(seq 50); do [ -S redis.sock ] && break; sleep 0.1; done
    for_its_time redis-benchmark -s "$dir/redis.sock" -q -n 20000 -c 20 -t set,get,lpush,lrange_100,mset >/dev/null 2>&1
    kill $server && wait $server
}

postgres_load() {
    local as="setpriv --reuid=postgres --regid=postgres --clear-groups"
    local bin
    bin=$(dirname "$(readlink -f "$(command -v postgres || ls /usr/lib/postgresql/*/bin/postgres | tail -1)")")
    mkdir -p pg && chown postgres: pg && rm -rf pg/data
    $as "$bin/initdb" -D "$dir/pg/data" -A trust >/dev/null 2>&1 || return 1
    $as "$bin/postgres" -D "$dir/pg/data" -k "$dir/pg" -c listen_addresses= >/dev/null 2>&1 &
    local server=$!
    for _ in $(seq 50); do [ -S pg/.s.PGSQL.5432 ] && break; sleep 0.1; done
    sleep 0.5
    $as pgbench -h "$dir/pg" -i -q postgres >/dev/null 2>&1 || return 1
    $as pgbench -h "$dir/pg" -c 4 -j 1 -T "$seconds" postgres >/dev/null 2>&1 || return 1
    kill -INT $server && wait $server
}

ran=()
have cc && for_its_time build && ran+=("compiling")
have dpkg dpkg-deb && pack && for_its_time install_package && ran+=("installing a package")
have find sed awk tar gzip && for_its_time scripts && ran+=("shell scripts")
have sqlite3 && for_its_time sqlite && ran+=("SQLite")
have redis-server redis-benchmark && redis && ran+=("Redis")
have pgbench setpriv && { have postgres || ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1; } && id postgres >/dev/null 2>&1 && postgres_load && ran+=("PostgreSQL")
printf '%s\n' "${ran[@]}"
