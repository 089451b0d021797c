"""What a use case refuses: with complaints that have stable codes, and nothing changed."""

from kosminar.core.errors import Code, Complaint


class Refusal(Exception):
    """Each edge gives it the shape and the status of its surface."""

    def __init__(self, *complaints: Complaint) -> None:
        super().__init__(*(complaint.message for complaint in complaints))
        assert complaints, "a refusal says why"
        self.complaints = complaints

    @classmethod
    def of(cls, code: Code) -> "Refusal":
        """With the code's own message."""
        return cls(Complaint.of(code))
