"""The state of one batch, without any calls: which of its records are undone, done or held."""

from handler.stream.change import Change
from handler.stream.engine.batch import Batch, ItemKey
from handler.stream.ledger.notes import UNDONE, Note


class BatchState:
    """The state of each record, at the record's position in the batch.

    Attributes
    ----------
    states : list of str
        UNDONE, DONE or HELD for each record.
    note : Note
        The progress note that the batch started from.
    """

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.states = [UNDONE] * len(batch.records)
        self.note = Note()

    def start_from(self, note: Note) -> None:
        """Take over the states that a progress note names; records without one are undone."""
        self.note = note
        self.states[:] = [note.states.get(sequence, UNDONE) for sequence in self.batch.sequences]

    def change(self, position: int) -> Change:
        """Return a new Change of the record at a position."""
        return Change(self.batch.records[position])

    def undone(self) -> list[int]:
        """Return the positions of the undone records, ascending."""
        return [position for position, state in enumerate(self.states) if state == UNDONE]

    def undone_by_item(self) -> dict[ItemKey, list[int]]:
        """Return the positions of the undone records by item, in stream order."""
        positions: dict[ItemKey, list[int]] = {}
        for position in self.undone():
            positions.setdefault(self.batch.items[position], []).append(position)
        return positions

    def undone_numbers(self) -> list[str]:
        """Return the sequence numbers of the undone records as the stream wrote them, ascending."""
        return [self.batch.records[position]["dynamodb"]["SequenceNumber"] for position in self.undone()]

    def checkpoint(self) -> int:
        """Return the position of the first undone record, or the batch's length if there is none."""
        return next(iter(self.undone()), len(self.states))

    def note_from(self, start: int, carried: Note) -> Note:
        """Return a note of the records from a position on, followed by the carried part of the former note."""
        states = dict(zip(self.batch.sequences[start:], self.states[start:], strict=True))
        return Note(states | dict(carried.states))
