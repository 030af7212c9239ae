/// What `DifferentialRun` does.
package struct DifferentialOptions: Sendable {
  /// What stands against the kernel. The kernel itself, to show that the harness finds no
  /// difference where there is none.
  package var peer = MountKind.fsmount
  package var variant: ImageVariant
  package var seed: UInt64
  package var rounds = 3
  package var operations = 800
  package var exactHoles = false
  /// Make the first image with `fsmount mkfs` instead of `mkfs.btrfs`.
  package var usesFsmountImage = false
  /// Without `default_permissions` the kernel itself drops the sticky bit at a change of owner.
  package var peerMountOptions = "noatime,default_permissions"
  package var report: @Sendable (String) -> Void = { _ in }

  package init(variant: ImageVariant, seed: UInt64) {
    self.variant = variant
    self.seed = seed
  }
}
