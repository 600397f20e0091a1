"""The states of a run, a batch, a notice and a case: who moves a thing in, and who out.

Every transition in the code names its from-states in the WHERE clause of its UPDATE and checks the row count.
"""

from enum import StrEnum


class RunState(StrEnum):
    """A run: one programme, location, cycle and part."""

    #: In: scheduler.plan. Out: approve; discard deletes the run.
    PLANNED = "planned"
    #: In: scheduler.approve (a person, or the policy). Out: release; discard deletes the run.
    APPROVED = "approved"
    #: In: scheduler.release, resume, retry. Out: close, pause, cancel.
    RELEASED = "released"
    #: In: pause by a person, or by the sweep after three exhausted batches. Out: resume, cancel.
    PAUSED = "paused"
    #: In: scheduler.close, or the resolution of the last case. Out: nothing; a later part is another run.
    COMPLETED = "completed"
    #: In: scheduler.close. Out: retry (to released), resolution of the last case (to completed).
    COMPLETED_WITH_CASES = "completed_with_cases"
    #: In: cancel. Its open lines become cases once no lease is live. Out: retry (to released).
    CANCELLED = "cancelled"


#: Before these, a run can be discarded; from RELEASED on its lines are kept for ever.
UNRELEASED = (RunState.PLANNED, RunState.APPROVED)
FINISHED = (RunState.COMPLETED, RunState.COMPLETED_WITH_CASES)


class BatchState(StrEnum):
    """A contiguous range of one run's lines: the unit of a message and of a transaction."""

    #: In: plan. Out: release.
    PLANNED = "planned"
    #: In: release, resume, retry, split, lines that an issuer put off. Out: a worker's credit (done), split, pause,
    #: cancel, dead.
    OPEN = "open"
    #: In: pause. Out: resume, cancel.
    PAUSED = "paused"
    #: In: workers.credit, with the write-once counts. Out: nothing.
    DONE = "done"
    #: In: the sweep, of an exhausted batch; its lines are covered by smaller batches. Out: nothing.
    SPLIT = "split"
    #: In: cancel, or the sweep for a single line that cannot be credited; its lines became cases. Out: nothing.
    STOPPED = "stopped"


class NoticeState(StrEnum):
    """One message to one store about one run."""

    #: In: close, `store resend`. Out: workers.notify.
    DUE = "due"
    #: In: workers.notify, on a 2xx. Out: nothing.
    DELIVERED = "delivered"
    #: In: workers.notify, after the last attempt or a 410. Out: `store resend`.
    UNDELIVERED = "undelivered"


class CaseState(StrEnum):
    """A line that needs another try or a person."""

    #: In: sweep, cancel, workers.outside. Out: retry, the sweep's next attempt, resolve.
    OPEN = "open"
    #: In: see OPEN. Out: nothing; another trouble with the line is another case.
    CLOSED = "closed"


class CaseReason(StrEnum):
    """Why a line became a case."""

    UNKNOWN = "unknown"  #: an outside issuer's answer did not come: asked by reference before anything is sent again
    REJECTED = "rejected"  #: an outside issuer refused for good
    DEAD = "dead"  #: its own batch of one line failed twice, or an issuer put it off for a day
    STOPPED = "stopped"  #: its run was cancelled before it was credited


class CallKind(StrEnum):
    """What an outside issuer is called for."""

    SEND = "send"  #: create the credit, under our reference
    ASK = "ask"  #: say whether there is one under our reference


class AnswerOutcome(StrEnum):
    """What a call to an outside issuer came to. Which answer is which: workers.issuers.answers."""

    CREDITED = "credited"  #: the issuer confirms reference, amount and currency
    REJECTED = "rejected"  #: it refused for good; it holds nothing under the reference
    LATER = "later"  #: nothing left this host, or the issuer said so: nothing was done
    ABSENT = "absent"  #: asked, it holds nothing under the reference
    UNKNOWN = "unknown"  #: the call left, and no usable answer came


class CaseOutcome(StrEnum):
    """How a closed case ended."""

    RETRIED = "retried"  #: covered by a new batch
    PAID = "paid"  #: a person showed evidence that the family was paid; a voucher was recorded
    NOT_OWED = "not_owed"  #: a person found the line was not owed; it is never credited


class EntryKind(StrEnum):
    """What an issuer's statement lists."""

    CREDITED = "credited"
    REVERSED = "reversed"  #: a credit was taken back, whole


class DifferenceReason(StrEnum):
    """In what an issuer's statement and our books differ. A line has the first of these that is so."""

    UNKNOWN_TO_US = "unknown_to_us"  #: nothing was ever sent under this reference, as far as this database knows
    REVERSED_WITHOUT_ORIGINAL = "reversed_without_original"  #: what it takes back is not listed, or of another line
    TWICE = "twice"  #: another credit under the same reference came before, or one entry is listed again
    OTHER_AMOUNT = "other_amount"  #: not what the line says, in amount or currency
    NOT_OWED = "not_owed"  #: credited there; here a person found the line not owed
    NOT_SETTLED = "not_settled"  #: credited there; here the line has no voucher yet: it is a case, or under way
    REVERSED = "reversed"  #: taken back there; here the family has its voucher
    UNKNOWN_TO_THEM = "unknown_to_them"  #: credited here in a time that statements cover, and in none of them


class DifferenceState(StrEnum):
    """A line of an issuer's statement that does not agree with our books."""

    #: In: `statement import`. Out: a later statement, the sweep (the line has its voucher now), `statement close`.
    OPEN = "open"
    #: In: see OPEN. Out: nothing; if it comes to differ again, that is another difference.
    CLOSED = "closed"


class EnrolmentStatus(StrEnum):
    """Whether a household's months are paid. Takes effect at the next plan."""

    ACTIVE = "active"
    HELD = "held"
    STOPPED = "stopped"


class ConflictDecision(StrEnum):
    """What operators find of a household that was to be active beside another of the same person."""

    SAME = "same"  #: one person: the newcomer is stopped, the other keeps its months
    DIFFERENT = "different"  #: two people: the newcomer gets a seat of its own


#: Why a household is held or stopped that two operators have to decide about, or did. No file may give this reason.
DOUBLE_ENROLMENT = "double_enrolment"


class Approval(StrEnum):
    """Who approves a run of the programme."""

    PERSON = "person"
    POLICY = "policy"


#: The five groups of the programme; a group stands only in household rows and suppressed reports.
GROUPS = ("mpp_asylum_seeker", "single_caregiver", "pregnant", "disability", "victim_of_crime")
