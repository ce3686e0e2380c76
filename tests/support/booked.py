"""What a book makes of what sessions tell."""

from collections.abc import Iterable

from monitor.book import Book
from monitor.margin.venues import rules_of
from monitor.model.events import AccountDelta, AccountSnapshot, Event, InstrumentsLoaded, Marks


def apply(book: Book, event: Event, now: float = 0.0) -> None:
    """One event, as far as a book knows it."""
    match event:
        case InstrumentsLoaded():
            book.load_instruments(event)
        case AccountSnapshot():
            book.apply_snapshot(event)
        case AccountDelta():
            book.apply_delta(event)
        case Marks():
            book.apply_marks(event, now)


def booked(venue: str, events: Iterable[Event]) -> Book:
    """Everything that was told of an account called ``main``."""
    book = Book()
    book.add_account(venue, "main", rules_of(venue))
    for event in events:
        apply(book, event)
    return book
