"""Which reads of parameters show a secret."""

from pilothouse.call import Shape


def reads_secrets(request: Shape, answer: Shape | None) -> bool:
    """Whether an answer shows the plaintext of a SecureString; without one, whether it might."""
    if not request.get("WithDecryption"):
        return False
    if answer is None:
        return True
    shown = [answer["Parameter"]] if "Parameter" in answer else answer.get("Parameters") or ()
    return any(each.get("Type") == "SecureString" for each in shown)
