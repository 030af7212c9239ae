import ArgumentParser
import CFuse
import FSCore
import Glibc

struct SubvolumeCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "subvolume",
    abstract: "Make, delete, list and change subvolumes and snapshots of a mount.",
    discussion: """
      A subvolume is a directory that, with all that is in it, can be mounted, kept as a snapshot, made \
      read-only and deleted as one. The words are those of 'btrfs subvolume'. The user who mounted the \
      image may do this; root may where the mount lets it in (-o allow_other or allow_root). 'list', 'show' and 'get-default' also look at an image that is not \
      mounted.
      """,
    subcommands: [
      SubvolumeCreate.self, SubvolumeDelete.self, SubvolumeSnapshot.self, SubvolumeListCommand.self,
      SubvolumeShowCommand.self, SubvolumeGetDefault.self, SubvolumeSetDefault.self,
      SubvolumeSetReadOnly.self, SubvolumeSetWritable.self,
    ])
}
