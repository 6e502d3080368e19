"""Every error a user may see.

BlockmergeError
├── InputError              the recipe, the models or the arguments are wrong (exit 2)
│   ├── RecipeError         the recipe does not parse or names what does not exist
│   ├── CheckpointError     a model's files cannot be read as a checkpoint
│   ├── PlanError           these checkpoints cannot be merged by this recipe
│   ├── OutputExistsError   the result's folder is there already
│   ├── HubRefusalError     the Hub has no such thing, or not for this person
│   │   └── SignInError     a token is missing, has expired, or may not do this
│   ├── DeviceError         the device that was asked for does not exist, or is not here
│   ├── SettingsError       an environment variable or a command-line option is wrong
│   └── JobRequestError     what was asked of a job cannot be done
├── RunError                something went wrong while merging (exit 1)
│   ├── SourceChangedError  an input changed while it was read
│   ├── StorageError        the disk is full, or refused a read or a write
│   ├── GpuError            the GPU has too little memory, or failed
│   ├── HubError            the Hub could not be reached, or failed
│   ├── VerifyError         the result is not what the plan says
│   ├── MergeCancelledError somebody asked to stop, and nothing stays
│   └── MergePausedError    somebody asked to stop, and what is finished stays
└── TryError                a model cannot be tried, or has no answer
"""


class BlockmergeError(Exception):
    """Its text is one or more sentences for a person: where, what was expected and found, what to do."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class InputError(BlockmergeError):
    """What was given is wrong; nothing was changed."""


class RecipeError(InputError):
    pass


class CheckpointError(InputError):
    pass


class PlanError(InputError):
    pass


class OutputExistsError(InputError):
    pass


class HubRefusalError(InputError):
    pass


class SignInError(HubRefusalError):
    pass


class DeviceError(InputError):
    pass


class SettingsError(InputError):
    pass


class JobRequestError(InputError):
    pass


class RunError(BlockmergeError):
    """The merge stopped; the text says what is left behind."""


class SourceChangedError(RunError):
    pass


class StorageError(RunError):
    pass


class GpuError(RunError):
    pass


class HubError(RunError):
    pass


class VerifyError(RunError):
    pass


class MergeCancelledError(RunError):
    pass


class MergePausedError(RunError):
    pass


class TryError(BlockmergeError):
    """A model cannot be tried, or has no answer; nothing else is affected."""
