"""Every error a person can meet. Each says whose fault it is, where, and what to do."""


class MoatError(Exception):
    """Base. ``hint`` is one sentence the reader can act on."""

    def __init__(self, message: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.message, self.where, self.hint = message, where, hint

    def __str__(self) -> str:
        said = ": ".join(part for part in (self.where, self.message) if part)
        between = "\n" if "\n" in self.message else ": "  # a caret stands alone on its line
        return f"{said}{between}hint: {self.hint}" if self.hint else said


class ConfigError(MoatError):
    """The operator wrote something we cannot use."""


class QueryError(MoatError):
    """The analyst wrote something we cannot compile, or that ran past a limit."""


class PeerError(MoatError):
    """The other end broke the protocol. ``status`` is the HTTP status to answer it."""

    def __init__(self, message: str, *, status: int = 400, where: str = "", hint: str = "") -> None:
        super().__init__(message, where=where, hint=hint)
        self.status = status


class TransientError(MoatError):
    """It may work later; the caller tries again. ``status`` is what a sender is told meanwhile."""

    def __init__(self, message: str, *, status: int = 503, where: str = "", hint: str = "") -> None:
        super().__init__(message, where=where, hint=hint)
        self.status = status
