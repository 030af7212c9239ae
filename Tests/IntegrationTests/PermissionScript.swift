/// What the tests of permissions do on a mount, as root, and through setpriv as others: a shell
/// script that prints every result.
enum PermissionScript {
  /// For `lists` and for `everything`.
  private static let show = #"""
    show() { for f in "$@"; do stat -c '%n %a %u:%g %F' "$f"; getfacl -cnp "$f"; done 2>&1; }

    """#

  static let lists =
    show + #"""
      # Lists set, read, replaced and removed, with the mask and the mode.
      echo text > file; mkdir dir; ln -s file link; mkfifo pipe
      run setfacl -m u:1001:rw,g:1002:r file; show file
      run chmod 640 file; show file
      run chmod 606 file; show file
      run $B cat file; run $C cat file
      run setfacl -m m::rwx file; run $B sh -c 'echo more >> file'; run $C cat file
      run setfacl -m u::r,g::-,o::- file; show file
      run setfacl -x u:1001 file; show file
      run setfacl -b file; show file
      run setfacl -m u:1001:--- pipe; show pipe
      run setfacl -m u:1001:r link; show file
      run setfacl -d -m u:1001:r file
      run setfacl -n -m u:1001:rwx,m::- dir; show dir; run $B ls dir
      # Default lists and what is created under them.
      run setfacl -d -m u:1001:rwx,g::rx,o::- dir; show dir
      for mask in 000 022 077; do
        (umask $mask; echo x > dir/f$mask; mkdir dir/d$mask; mkfifo dir/p$mask
         ln -s x dir/l$mask
         mkdir -m 700 dir/m$mask; mkdir dir/d$mask/deep; : > dir/d$mask/deep/f)
        show dir/f$mask dir/d$mask dir/p$mask dir/m$mask dir/d$mask/deep dir/d$mask/deep/f
      done
      mkdir plain; run setfacl -d -m u::rwx,g::-,o::- plain
      (umask 0; : > plain/f; mkdir plain/d); show plain plain/f plain/d
      run setfacl -k dir; show dir; : > dir/late; show dir/late
      run setfacl -k plain/d; run setfacl -k file
      # By others than root.
      $A sh -c 'umask 027; echo a > mine; mkdir minedir'; show mine minedir
      run $A setfacl -m u:1001:r mine; show mine
      run $B setfacl -m u:1002:r mine; run $B cat mine; run $C cat mine
      run $B sh -c 'echo b > mine'; run $A chmod 600 mine; run $B cat mine
      run $A setfacl -m g:1001:rw mine; run $B sh -c 'echo b >> mine'; run $A cat mine
      run $A setfacl -d -m u:1001:rwx,u:1000:rwx minedir
      run $A setfacl -m u:1001:rwx minedir
      run $B sh -c 'echo c > minedir/theirs'; show minedir/theirs
      run $A cat minedir/theirs; run $C cat minedir/theirs
      run $B rm minedir/theirs; run $C touch minedir/no
      # The set-group-ID bit, which a list takes off for who is not of the group.
      : > sg; chown 1000:1001 sg; chmod 2775 sg; run $A setfacl -m u:1002:rw sg; show sg
      chown 1000:1000 sg; chmod 2775 sg; run $A setfacl -m u:1002:r sg; show sg
      chown 1001:1000 sg; chmod 2775 sg; run $B setfacl -m u:1002:rw sg; show sg
      mkdir sgd; chown 1000:1001 sgd; chmod 2775 sgd; run $A setfacl -m u:1002:rw sgd; show sgd
      chmod 2775 sgd; run $A setfacl -d -m u:1002:rw sgd; show sgd
      chown 1000:1001 sg; chmod 775 sg; run $A chmod 2770 sg; show sg
      mkdir shared; chown 0:1000 shared; chmod 2777 shared
      $B sh -c ': > shared/f; mkdir shared/d; chmod 2755 shared/f'; show shared/f shared/d
      $C sh -c 'umask 0; : > shared/g; mkdir shared/e'; show shared/g shared/e
      run $C perl -e 'umask 0; sysopen(F, "shared/h", 0101, 02775) or die $!'
      show shared/h
      """#

  /// Privilege bits and file capabilities, taken off by a change of the content.
  static let privileges = #"""
    # Root without CAP_FSETID.
    D="capsh --drop=cap_fsetid --"
    try() {
      for mode in 6777 2767 4666 2666 6755 777; do
        for user in root "$A" "$B" "$C" "$D"; do
          rm -f p; cp /bin/true p; truncate -s 5000 p; chown ${owner:-0:1000} p; chmod $mode p
          [ $mode = 777 ] && setcap cap_net_raw=ep p
          case "$user" in root) sh -c "$1";; "$D") $D -c "$1";; *) $user sh -c "$1";; esac \
            >/dev/null 2>&1
          echo "$1: $mode $user: $? $(stat -c '%a %u:%g %s' p) $(getcap p)"
        done
      done
    }
    try 'echo x >> p'
    try 'echo x > p'
    try 'truncate -s 100 p'
    try 'truncate -s 9000 p'
    try 'truncate -s 5000 p'
    try 'fallocate -l 9000 p'
    try 'fallocate -p -o 0 -l 4096 p'
    try 'dd if=/dev/zero of=p bs=4096 count=1 oflag=direct conv=notrunc'
    owner=1000:1000
    try 'chown 1000 p'
    try 'chgrp 1000 p'
    try 'chgrp 1001 p'
    try 'chown 1002:1002 p'
    try 'perl -e "chown(-1, -1, \"p\")"'
    try 'touch p'
    try 'setfacl -m u:1001:rwx p'
    try 'chmod 6775 p'
    mkdir pd; chmod 6777 pd; chown 1000:1000 pd; stat -c %a pd
    run $A chgrp 1000 pd; stat -c %a pd
    rm -f p
    """#

  /// All that is there.
  static let everything =
    show + #"""
      find . | LC_ALL=C sort | while read f; do [ -L "$f" ] || show "$f"; done
      """#
}
