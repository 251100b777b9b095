"""The model libraries' own progress bars and hints, switched off where the command line shows its own."""

from __future__ import annotations


def quiet_libraries() -> None:
    """No loading bars of transformers and diffusers, and of their log only errors."""
    import diffusers
    import transformers

    for library in (diffusers, transformers):
        library.utils.logging.disable_progress_bar()
        library.utils.logging.set_verbosity_error()
