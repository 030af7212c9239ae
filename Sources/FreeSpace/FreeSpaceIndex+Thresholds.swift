extension FreeSpaceIndex {
  /// Gives every window the smaller of its two forms and gives back unused room.
  ///
  /// The memory bound holds without it: a window turns into a bitmap when its list would
  /// outgrow one, and back into a list at a quarter of that. In between, this decides.
  /// To be called now and then, as after loading or at a commit; costs one pass.
  package func recalculateThresholds() {
    for window in 0..<windowCount { windows[window].compact() }
  }
}
