/// Empties one block group.
struct GroupEmptier: Sendable {
  func check(_ plan: BalancePlan) throws(FilesystemError) {
    throw .unsupported("balance")
  }

  func empty(
    _ group: BlockGroup, target: BalanceFilter.Profile?, goesOn: (_ bytesMoved: UInt64) -> Bool
  ) throws(FilesystemError) -> Bool {
    throw .unsupported("balance")
  }
}
