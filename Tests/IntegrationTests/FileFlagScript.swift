/// What the tests of chattr(1)'s flags do on a mount: a shell script that prints every result.
enum FileFlagScript {
  static let all = #"""
    # Root without CAP_LINUX_IMMUTABLE.
    E="capsh --drop=cap_linux_immutable --"
    flags() { for f in "$@"; do [ -L "$f" ] || [ -p "$f" ] || lsattr -d "$f"; done 2>&1; }
    # What new inodes take over.
    for flag in A d S D m C mC a i c cm cC cA; do
      mkdir d$flag; run chattr +$flag d$flag
      run sh -c ": > d$flag/f; mkdir d$flag/d; mkfifo d$flag/p; ln -s x d$flag/l"
      [ $flag = i ] || : > d$flag/d/deep
      flags d$flag d$flag/*
      run sh -c "echo text > d$flag/f; cat d$flag/f"; run rm -r d$flag
      [ $flag = a ] || chattr -$flag d$flag; flags d$flag
    done
    # What excludes what, and what a file with content no longer takes.
    : > f; for flags in C m mC d AdS c cd = cm cC = m c =; do run chattr +$flags f; flags f; done
    run chattr = f; run chattr +j f; run chattr -p 5 f; run chattr +s f; flags f
    run chattr +C f; echo text > f; run chattr -C f; flags f; : > f; run chattr -C f; flags f
    echo text > f; run chattr +C f; flags f; run chattr =AD f; flags f
    # The property that goes with two of them.
    property() { for f in "$@"; do getfattr -h --only-values -n btrfs.compression $f 2>&1; echo; done; flags "$@"; }
    : > cf; mkdir cd; mkfifo cp; ln -s x cl; : > cC; chattr +C cC
    for value in zlib lzo zstd no none zlib:9 zlibfoo zstd:99 zst ZLIB nonesuch no1; do
      for f in cf cd cp cl cC; do run setfattr -h -n btrfs.compression -v $value $f; property $f; done
      : > cd/f; mkdir cd/d; mkfifo cd/p; ln -s x cd/l; property cd/f cd/d; rm -r cd/f cd/d cd/p cd/l
    done
    for f in cf cd cp cl cC; do run setfattr -h -x btrfs.compression $f; property $f; done
    for flags in +c +d -c +m =c =; do run chattr $flags cf; property cf; done
    setfattr -n btrfs.compression -v zstd cf; run chattr +A cf; property cf
    run setfattr -n btrfs.other -v zstd cf; run $B setfattr -n btrfs.compression -v zstd cf; property cf
    rm -r cf cd cp cl cC
    # A file that cannot be changed, and one that can but grow.
    tries() {
      for command in 'cat F' 'sh -c "echo x > F"' 'sh -c "echo x >> F"' 'truncate -s 2 F' \
        'truncate -s 900 F' 'fallocate -l 9999 F' 'fallocate -p -o 0 -l 4096 F' 'chmod 600 F' \
        'chown 5 F' 'touch F' 'touch -a F' 'touch -m F' \
        'touch -d 1999-01-01 F' 'setfattr -n user.a -v 1 F' \
        'setfattr -x user.a F' 'setfacl -m u:5:r F' 'ln F other' 'mv F moved' 'mv f F' 'rm F' \
        'sh -c ": > F/new"' 'mkdir F/new2' 'mv f F/f' 'rm F/old' 'mv F/old F/older' \
        'sh -c "echo x >> F/old"' 'perl -e "open(F,q(+<),q(F)) or die qq(: \$!\n)"'; do
        run sh -c "$(echo "$command" | sed "s,F,$1,g")"
      done
      if [ -f $1 ]; then cat $1; else run rmdir $1; fi; stat -c '%a %u %s' $1; ls $1; flags $1; ls
    }
    for flag in i a ai; do
      for kind in file dir; do
        if [ $kind = file ]; then echo text > t; else mkdir t; : > t/old; fi
        setfattr -n user.a -v 0 t; chattr +$flag t; echo f > f
        tries t; chattr -$flag t; rm -rf t moved other
      done
    done
    # What was open before stays so.
    echo text > t; exec 3>> t 4<> t; chattr +i t; echo three >&3; echo four >&4
    run perl -e 'open(F, ">&=4"); truncate(F, 0) or die ": $!\n"'
    chattr -i t; chattr +a t; echo four >&4; echo three >&3; cat t; exec 3>&- 4>&-; chattr -a t
    # What is open to append is written in no other way.
    echo text > t; chattr +a t
    perl -MFcntl -e 'sysopen(F, "t", O_RDWR | O_APPEND) or die "$!"; syswrite(F, "more\n");
      fcntl(F, F_SETFL, O_RDWR) and sysseek(F, 0, 0) and syswrite(F, "lost")'; cat t; chattr -a t
    # Who may.
    $A sh -c ': > mine'; for who in "$A" "$B"; do run $who chattr +A mine; done; flags mine
    for flag in +i +a +d; do run $A chattr $flag mine; run $E -c "chattr $flag mine"; done
    flags mine
    chattr +ia mine; run $A chattr -i mine; run $A chattr -A mine; run $E -c "chattr -a mine"
    flags mine; run $E -c "chattr -A mine"; flags mine; chattr =i mine; run rm -f mine
    # Access times, and that a change of flags is one of the file.
    for f in noted ignored; do echo text > $f; touch -d 1999-01-01 $f; done; chattr +A ignored
    cat noted ignored; stat -c %x noted ignored | sed 's/\(....\).*/\1/;s/1999/old/;s/20../new/'
    before=$(stat -c %z noted); chattr +d noted
    [ "$before" != "$(stat -c %z noted)" ] && echo moved
    for flag in A d S m C i a; do : > k$flag; mkdir kd$flag; chattr +$flag k$flag kd$flag; done
    """#

  /// All that is there.
  static let everything = #"""
    find . | LC_ALL=C sort | while read f; do [ -f "$f" ] || [ -d "$f" ] && lsattr -d "$f"; done
    """#
}
