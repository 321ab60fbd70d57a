# A system of its own for a server that is not installed: sh room.sh TREE ROOM ACCOUNTS COMMAND...
# To be run in a mount namespace of its own (unshare --mount). What was unpacked to TREE lies over /usr, /etc and /var,
# /run is empty, ACCOUNTS are further lines of /etc/passwd; what is written there goes to memory and is gone with the
# namespace.
set -eu
tree=$1 room=$2 accounts=$3
shift 3
mount -t tmpfs -o mode=755 room "$room"
for dir in usr etc var; do
  mkdir -p "$room/$dir/upper" "$room/$dir/work" "$room/nothing"
  lower=$room/nothing
  [ ! -d "$tree/$dir" ] || lower=$tree/$dir
  mount -t overlay -o "lowerdir=$lower:/$dir,upperdir=$room/$dir/upper,workdir=$room/$dir/work" room "/$dir"
done
mount -t tmpfs -o mode=755 room /run
# Ours take the place of what the system has under the same names: looked up, the first one counts.
cut -d: -f1 "$accounts" | while read -r name; do
  sed -i "/^$name:/d" /etc/passwd /etc/group
done
cat "$accounts" >>/etc/passwd
cut -d: -f1,2,4 "$accounts" | sed 's/$/:/' >>/etc/group
# No name is asked of anybody but /etc/hosts.
rm -f /etc/resolv.conf
printf 'lookup file\nnameserver 127.0.0.1\n' >/etc/resolv.conf
exec "$@"
