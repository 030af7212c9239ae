// swift-format-ignore-file
// What `bindings.awk` must report bears the remark `planted` on the line of its name, and nothing else
// here may be reported. `layers.sh` tests itself with it before it looks at the sources.

package typealias Callback = @Sendable () -> Void
private typealias Callbacks = [Callback]
private typealias Count = [String: Int]

private let global: () -> Void = {}  // planted

package final class Planted: @unchecked Sendable {
  private let stored: @Sendable (Int) -> Bool  // planted
  private let inferred = Guarded<(@Sendable () -> Void)?>(nil, rank: .leaf)  // planted
  private let late = Guarded<(any Upward)?>(nil, rank: .leaf)  // planted
  let aliased: Callback  // planted
  private(set) var optional: Planted.Callback? = nil  // planted
  private let several: Callbacks = []  // planted
  @exclusivity(unchecked) package var upward: (any Upward)?  // planted
  var unwrapped: (any Upward)!  // planted
  package weak var weakly: Planted?  // planted
  unowned(unsafe) let owner: Planted  // planted
  private static let onTheNextLine:  // planted
    @convention(c) (UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? = { _ in
      nil
    }
  private let behindTheEqualsSign =  // planted
    Guarded<[@Sendable () -> Void]>([], rank: .leaf)
  private let arguments: (  // planted
    Int, String
  ) -> Void
  private let result  // planted
    : (Int) throws -> Void
  lazy var closure = { (number: Int) in number + 1 }  // planted
  var observed: (() -> Void)? {  // planted
    didSet { print("\(observed == nil ? "{" : "}")") }
  }

  enum Step {
    case plain(Int)
    case then(() -> Void)  // planted
  }
  struct Inner { var body: () -> Void }  // planted

  // What follows holds nothing that could be called.
  private let count: Count = [:]
  private let given: any Upward
  private let perhaps: (any Upward)?
  private static let number: Int = {
    let double: (Int) -> Int = { $0 * 2 }
    return double(4)
  }()
  private let names = ["a", "b"].map { name -> String in name }
  var computed: () -> Void { {} }
  var both: (any Upward)? {
    get { perhaps }
    set {}
  }
  let text = "() -> Void {"
  let lines = """
    let text: () -> Void = {
    """

  func perform(_ body: () -> Void) -> Int {
    let local: () -> Void = body
    var upward: (any Upward)?
    upward = given
    local()
    return upward == nil ? 0 : 1
  }
}

package protocol Upward: AnyObject {
  var handler: () -> Void { get }
}
