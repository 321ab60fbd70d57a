//! The small types of the contract: numbers of dialogs, and sets of small numbers.

use super::{Bits, HOPS, HopId, Peer};

#[test]
fn a_dialog_has_a_number_and_a_place() {
    assert!(HopId::numbered(0).is_none());
    for number in [1, 2, 7, u32::MAX] {
        let hop = HopId::numbered(number).unwrap();
        assert_eq!(hop.number(), number);
        assert_eq!(hop.slot(), number as usize % HOPS);
        assert_eq!(Peer::Upstream(hop).index(), 1 + hop.slot());
    }
    assert_eq!(Peer::Downstream.index(), 0);
}

#[test]
fn bits_are_numbers_in_order() {
    let mut bits = Bits::default();
    [5, 0, 7, 2].into_iter().for_each(|number| bits.set(number));
    bits.unset(2);
    assert_eq!((0..8).filter(|&number| bits.has(number)).collect::<Vec<_>>(), [0, 5, 7]);
    assert_eq!(bits.collect::<Vec<_>>(), [0, 5, 7]);
}

#[test]
fn bits_are_drained_once() {
    let mut bits = Bits::default();
    bits.set(3);
    assert_eq!(bits.drain().collect::<Vec<_>>(), [3]);
    assert_eq!(bits.drain(), Bits::default());
}
