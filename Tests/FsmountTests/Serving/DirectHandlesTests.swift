import FSCore
import Testing

@testable import fsmount

/// Which direct writes the kernel has to hear of.
@Suite(.timeLimit(.minutes(1))) struct DirectHandlesTests {
  private let handles = DirectHandles()
  private let id = InodeID(tree: 257, number: 300)
  private let other = InodeID(tree: 257, number: 301)

  @Test func aSoleWriterHasNoReaders() {
    handles.didOpen(id, isDirect: true) { 1 }
    #expect(!handles.mayHavePages(id))
    handles.didOpen(id, isDirect: true) { 2 }
    handles.didOpen(other, isDirect: false) { 1 }
    #expect(!handles.mayHavePages(id))
    handles.didClose(id)
    #expect(!handles.mayHavePages(id))
  }

  @Test func readersBeforeAndAfterCount() {
    handles.didOpen(id, isDirect: true) { 2 }
    #expect(handles.mayHavePages(id))

    handles.didOpen(other, isDirect: true) { 1 }
    handles.didOpen(other, isDirect: false) { 2 }
    #expect(handles.mayHavePages(other))
  }

  /// A reader has gone, and its pages have not.
  @Test func readersCountUntilTheLastDirectHandleIsClosed() {
    handles.didOpen(id, isDirect: true) { 1 }
    handles.didOpen(id, isDirect: false) { 2 }
    handles.didOpen(id, isDirect: true) { 2 }
    handles.didClose(id)
    #expect(handles.mayHavePages(id))

    handles.didClose(id)
    handles.didOpen(id, isDirect: true) { 1 }
    #expect(!handles.mayHavePages(id))
  }

  /// O_DIRECT may be set when the file is open already.
  @Test func withoutADirectHandleNothingIsKnown() {
    #expect(handles.mayHavePages(id))
  }
}
