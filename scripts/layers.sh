#!/usr/bin/env bash
# Keeps the architecture what docs/architecture.md says it is. Reads the code, comments and strings taken out, and checks:
#  1. src/: a path into this crate (`crate::…`, `super::…`, in a `use` or not, tests included) points to a lower layer, or
#     stays within its own folder on its own layer. Neighbours on one layer do not know each other.
#  2. `unsafe` stands in the few files that own it.
#  3. netlink/ and rootfs/ have never heard of containers, of ctr, or of each other.
#
#   scripts/layers.sh [DIR]      exit 1 with `file:line: what` for each break
set -euo pipefail
cd "${1:-$(dirname "${BASH_SOURCE[0]}")/..}"

# ---- The table: edit here. A folder with a slash speaks for all files in it that have no line of their own; any other file
# directly in src/ is layer 1, one kernel facility. A new folder, or a new file of container/, must be put in first.
layers='
0  error.rs sys.rs
0.5 arena.rs procfs.rs words.rs
0.7 template/
1.5 seccomp/
2  network/ cgroup/
3  container/limits.rs container/spec.rs container/device.rs container/sysctl.rs container/security.rs container/step.rs container/record.rs container/log.rs container/log/read.rs container/journal.rs container/ids.rs container/control.rs container/plan.rs container/trace.rs container/fault.rs
4  container/network.rs container/facts.rs container/layer.rs container/spawn.rs container/child.rs container/supervise.rs container/supervisor.rs container/init.rs
4  container/enter.rs container/seal.rs container/halt.rs container/client.rs container/streams.rs
4  container/mod.rs
4  cli.rs
4  audit/
5  cmd/ oci/
6  main.rs
'
may_be_unsafe='
src/sys.rs src/arena.rs src/main.rs src/container/spawn.rs netlink/src/sys.rs rootfs/src/sys.rs
'

command -v perl >/dev/null || { echo "layers.sh: needs perl" >&2; exit 1; }
LAYERS=$layers UNSAFE=$may_be_unsafe exec perl -w - <<'PERL'
use strict;
use File::Find;

my (%layer, %folder);
for (grep /\S/, split /\n/, $ENV{LAYERS}) {
    my ($n, @names) = split;
    m{/$} ? ($folder{$_} = $n) : ($layer{$_} = $n) for @names;
}
my %unsafe = map { $_ => 1 } split ' ', $ENV{UNSAFE};
my $bad = 0;
sub bad { print "$_[0]:$_[1]: $_[2]\n"; $bad++ }

sub blank { return ' ' . "\n" x ($_[0] =~ tr/\n//) }
# A file's code: comments, strings and characters blanked, line numbers kept.
sub code {
    open my $f, '<', $_[0] or die "$_[0]: $!";
    my $text = do { local $/; <$f> };
    $text =~ s~ //[^\n]*
              | (?<comment> /\* (?: [^*/] | \*(?!/) | /(?!\*) | (?&comment) )*+ \*/ )
              | \b[bc]?r (?<hashes>\#*) ".*?" \k<hashes>
              | (?:\b[bc])? " (?: [^"\\] | \\. )*+ "
              | (?:\bb)? ' (?: [^'\\\n] | \\u\{[^'\}]*\} | \\x.. | \\. ) '
              ~ blank($&) ~gsex;
    return $text;
}
sub files { my @f; find({ no_chdir => 1, wanted => sub { push @f, $_ if /\.rs$/ } }, grep -d, @_); return sort @f }

# The layer of src/FILE, or nothing for one the table does not know.
sub layer_of {
    my $file = shift;
    return $layer{$file} if exists $layer{$file};
    for (my $dir = $file; $dir =~ s{[^/]+/?$}{} && $dir; ) { return $folder{$dir} if exists $folder{$dir} }
    return $file =~ m{/} ? undef : 1;
}
# The part of the house a file belongs to: its first folder, or itself.
sub room { my $f = shift; return $f =~ m{^([^/]+)/} ? $1 : $f }

# The file that a path of names from the crate's root leads into: as deep as there are files for them.
sub file_of {
    my @names = @_;
    my ($dir, $best) = ('', 'main.rs');
    for (@names) {
        my ($found) = grep { -f "src/$_" } "$dir$_.rs", "$dir$_/mod.rs";
        last unless $found || -d "src/$dir$_";
        $best = $found if $found;
        $dir .= "$_/";
    }
    return $best;
}
# All paths of a use tree that starts at the string's front: `a::{b, c::{d, e as f}, *}` -> [a b] [a c d] [a c e] [a *].
sub paths {
    my $in = shift;
    my ($tree, @out);
    $tree = sub {
        my @path = @_;
        while (1) {
            if ($$in =~ /\G\s*\{/gc) {
                until ($$in =~ /\G\s*\}/gc) {
                    $tree->(@path);
                    $$in =~ /\G\s*,/gc or $$in =~ /\G\s*(?=\})/gc or last;
                }
                return;
            }
            $$in =~ /\G\s*((?:r\#)?\w+|\*)/gc or last;
            push @path, $1;
            $$in =~ /\G\s*::/gc or last;
        }
        $$in =~ /\G\s+as\s+\w+/gc;
        push @out, [@path];
    };
    $tree->();
    return @out;
}

my @src = files('src');
for my $path (@src) {
    (my $file = $path) =~ s{^src/}{};
    my $mine = layer_of($file);
    bad($path, 1, "not in the table of scripts/layers.sh: give it a layer"), next unless defined $mine;
    my $code = code($path);
    # The module this file is, as names from the crate's root.
    (my $module = $file) =~ s{(?:/mod)?\.rs$}{};
    my @module = $file eq 'main.rs' ? () : split m{/}, $module;
    my %said;
    while ($code =~ /(?<![\w:])(\$?crate|super)\s*::/g) {
        my ($from, $line) = ($1, 1 + substr($code, 0, $-[0]) =~ tr/\n//);
        # `mod tests { use super::* }` means the file itself, and nobody writes `super` for much else: count it as a path
        # only where it names a file next door.
        my $after = pos $code;
        for (paths(\$code)) {
            my @names = @$_;
            my $up = $from eq 'super';
            while (@names && $names[0] eq 'super') { shift @names; $up++ }
            my @base = $up ? @module[0 .. $#module - $up] : ();
            my $to = file_of(@base, @names);
            next if $up && $to eq file_of(@base);
            next if $to eq $file;
            my $its = layer_of($to);
            next unless defined $its; # reported once, at that file
            my $same = $its == $mine && (room($to) eq room($file) || $mine == 0);
            next if $its < $mine || $same || $said{"$line $to"}++;
            bad($path, $line, $its == $mine
                ? "layer $mine: neighbours do not know each other, and this names src/$to"
                : "layer $mine points up: src/$to is layer $its");
        }
        pos($code) = $after;
    }
}

my @crates = (files('netlink'), files('rootfs'));
for my $path (@src, @crates) {
    my $code = code($path);
    bad($path, 1 + substr($code, 0, $-[0]) =~ tr/\n//, "`unsafe` outside the files that own it")
        while !$unsafe{$path} && $path !~ m{/tests/} && $code =~ /\bunsafe\b/g;
}
for my $path (@crates) {
    my ($code, $self) = (code($path), $path =~ m{^(\w+)});
    my $other = $self eq 'netlink' ? 'rootfs' : 'netlink';
    while ($code =~ /(\w*container\w*)|\b(ctr|$other)\s*::|\buse\s+(ctr|$other)\b/gi) {
        my $line = 1 + substr($code, 0, $-[0]) =~ tr/\n//;
        bad($path, $line, defined $1 ? "$self has never heard of containers: `$1`" : "$self does not know " . ($2 // $3));
    }
}
for my $self (grep { -f "$_/Cargo.toml" } qw(netlink rootfs)) {
    open my $f, '<', "$self/Cargo.toml" or die;
    while (<$f>) { bad("$self/Cargo.toml", $., "$self depends on a crate of this workspace") if /^\s*(ctr|netlink|rootfs)\b.*(path|workspace)\s*=/ }
}
exit 1 if $bad;
printf "layers.sh: %d files, every path points down\n", @src + @crates;
PERL
