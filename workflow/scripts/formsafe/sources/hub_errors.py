"""What went wrong on the hub, in words that say what to do."""

from typing import Literal


def is_outage(error: Exception) -> bool:
    """Whether an error says nothing about the repository, only about the way to it."""
    import httpx2  # the HTTP library of huggingface_hub
    from huggingface_hub import errors as hub

    if isinstance(error, hub.HfHubHTTPError):
        return error.response.status_code >= 500 or error.response.status_code == 429
    unlisted = hub.LocalEntryNotFoundError | hub.CachedRepoTreeNotFoundError
    return isinstance(error, hub.OfflineModeIsEnabled | unlisted | httpx2.TransportError)


def explain(error: Exception, repo: str, kind: Literal["model", "dataset"], revision: str, locked: bool) -> str:
    """Say what went wrong and what to do. The token and the hub's own message (which may hold URLs) stay out."""
    from huggingface_hub import constants, get_token
    from huggingface_hub import errors as hub

    page = f"{constants.ENDPOINT}/{'datasets/' if kind == 'dataset' else ''}{repo}"
    token = "A token was sent, but it gives no access" if get_token() else "No token was sent"
    remedy = "put a token with read access into the variable HF_TOKEN, or run `hf auth login`"
    status = error.response.status_code if isinstance(error, hub.HfHubHTTPError) else None
    if isinstance(error, hub.GatedRepoError):
        return f"{repo} is gated ({token}). Accept its terms at {page}, then {remedy}."
    if isinstance(error, hub.RevisionNotFoundError) and locked:
        return (
            f"Commit {revision} of {repo}, which the lock of sources names, is gone from {page}. To take what is "
            "there now, delete its entry from config/sources.lock.yaml and run again."
        )
    if isinstance(error, hub.RevisionNotFoundError):
        return f"{repo} has no revision {revision}. See {page} for its branches and tags."
    if isinstance(error, hub.RepositoryNotFoundError):
        return f"{page} does not exist, or is private ({token}). Check the name; for a private repository {remedy}."
    if status in (401, 403):
        refusal = f"{page} refuses access with status {status} ({token})"
        return f"{refusal}. Accept its terms there if it has any, and {remedy}."
    if is_outage(error):
        return (
            f"{repo} is not in the cache as a whole ({constants.HF_HUB_CACHE}), and the hub cannot be reached "
            f"({type(error).__name__}). Without network: run the targets `models` and `data` on a machine that has it "
            "and shares the cache (HF_HOME), or put a copy on disk and name it under `path:` in the configuration "
            "(with `hub: null`)."
        )
    return f"{repo} could not be fetched from {page} ({type(error).__name__}). Try again, or name a copy under `path:`."
