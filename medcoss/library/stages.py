"""Prepare, pre-train, build a buffer, fine-tune: folders in, one folder out."""

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from typing import Any, Literal, TypeVar

from medcoss import __version__
from medcoss.data.fingerprints import fingerprint
from medcoss.library.display import Display
from medcoss.library.folders import MARKERS, UNPACKED, Output, existing, found
from medcoss.library.options import checked, refuse_unknown, shows_options
from medcoss.library.session import PARTS, Session, is_main, world
from medcoss.run import BadInput, RunContext, Stopped, refuse
from medcoss.specs import fit
from medcoss.specs.base import Spec
from medcoss.specs.buffers import BuildBufferOptions
from medcoss.specs.preprocess import PreprocessOptions
from medcoss.specs.recipes import RECIPES
from medcoss.specs.records import DatasetInfo, ModelInfo
from medcoss.specs.training import FinetuneOptions, PretrainOptions

Folder = str | Path
Info = TypeVar("Info", ModelInfo, DatasetInfo)


@dataclass(frozen=True)
class _Call:
    """What a function was asked for."""

    function: str
    out: Folder
    inputs: dict[str, Any]
    options: Spec
    resume: bool
    overwrite: bool
    quiet: bool

    def settings(self) -> dict[str, Any]:
        inputs = {n: [str(p) for p in v] if isinstance(v, list) else v and str(v) for n, v in self.inputs.items()}
        hashes = {n: [fingerprint(p) for p in v] if isinstance(v, list) else v and fingerprint(v)
                  for n, v in self.inputs.items()}  # fmt: skip
        options = self.options.model_dump(mode="json")
        return {"medcoss": __version__, "function": self.function, "inputs": inputs, "sha256": hashes,
                "options": options}  # fmt: skip

    def named(self, error: BadInput) -> BadInput:
        """The error by the name of this function's argument, where the platform's jobs have a field `dataset`."""
        own = {"dataset": "raw" if "raw" in self.inputs else "data"}
        return BadInput(error.message, own.get(error.where, error.where))


def _carry_out(call: _Call, result: str, info: type[Info], work: Callable[[Path, RunContext], Info],
               resumable: bool = False) -> Info:  # fmt: skip
    """Run `work`, which writes the result to the folder it is given, and put it in its place once it is whole."""
    if call.resume and call.overwrite:
        raise BadInput("resume goes on with what is there, overwrite replaces it; give one of them", "resume")
    output = Output(Path(call.out).expanduser().resolve(), call.function, result)
    display = Display(call.function, call.quiet or not is_main())
    session = Session(output.root, display)
    with ExitStack() as stack:
        _claim(output, call, stack)
        if call.resume and output.finished:
            display.line(f"{output.root} is finished")
            return info.model_validate_json((output.root / result / MARKERS[result]).read_text())
        if is_main():
            rmtree(output.work, ignore_errors=True)
            stack.callback(rmtree, output.work, ignore_errors=True)
        stack.enter_context(display)
        stack.enter_context(session.listening())
        try:
            made = work(output.work / result, session)
        except BadInput as error:
            raise call.named(error) from error
        except Stopped:
            on = "with resume=True to go on" if resumable else "to start again"
            raise Stopped(
                f"stopped at {session.done} of {session.total}; call {call.function} once more {on}"
            ) from None
        if is_main():
            output.keep()
            rmtree(output.root / PARTS, ignore_errors=True)
            display.line(f"{call.function}: {output.root / result}")
        _wait_for_others()
    return made


def _claim(output: Output, call: _Call, stack: ExitStack) -> None:
    """Let the main process make the folder ready; a refusal is raised in every process, so that none waits."""
    problem: BadInput | None = None
    if is_main():
        try:
            stack.enter_context(output.locked())
            output.claim(call.settings(), resume=call.resume, overwrite=call.overwrite)
        except BadInput as error:
            problem = error
    if world() > 1:
        from medcoss.training.distributed import Ranks

        problem = Ranks.join().from_main(problem)
    if problem is not None:
        raise problem


def _listed(given: Folder | Sequence[Folder]) -> list[Folder]:
    """One folder or several as a list."""
    return [given] if isinstance(given, str | Path) else list(given)


def _measured_on(given: Folder | Sequence[Folder]) -> list[Path]:
    """The folders of datasets to measure on. Raises BadInput when one is no dataset, or has no splits to measure on."""
    folders = [found(one, "dataset", f"measured_on[{i}]") for i, one in enumerate(_listed(given))]
    infos = [DatasetInfo.model_validate_json((folder / MARKERS["dataset"]).read_text()) for folder in folders]
    refuse(fit.measured_on(infos))
    return folders


def _wait_for_others() -> None:
    """Under torchrun, until the main process has put the result in its place."""
    if world() > 1:
        import torch.distributed as dist

        dist.barrier()


def _alone(function: str) -> None:
    if world() > 1:
        raise BadInput(f"{function} runs in one process; call it in a script of its own, without torchrun")


@shows_options(PreprocessOptions, *RECIPES.values(), without=("recipe", "name"))
def prepare(raw: Folder, out: Folder, recipe: str = "image_folder", *, resume: bool = False,
            overwrite: bool = False, quiet: bool = False, **options: Any) -> DatasetInfo:  # fmt: skip
    """Turn a folder of images, volumes or report tables into a prepared dataset, in `out`/dataset.

    `recipe` says what the files are; its fields are options. Files that cannot be used are listed in
    `out`/artifacts/report.json. An interrupted run goes on with the same call and `resume=True`. Patients are stored
    as hashes keyed by the environment variable MEDCOSS_PATIENT_SALT. Raises BadInput, and Stopped on Ctrl-C.
    """
    _alone("prepare")
    if recipe not in RECIPES:
        raise BadInput(f"unknown recipe '{recipe}'; expected {', '.join(RECIPES)}", "recipe")
    own = [name for name in RECIPES[recipe].model_fields if name != "name"]
    general = [name for name in PreprocessOptions.model_fields if name != "recipe"]
    refuse_unknown(prepare, options, [*own, *general], f"prepare with recipe {recipe}")
    chosen = checked(RECIPES[recipe], {n: v for n, v in options.items() if n in own})
    spec = checked(PreprocessOptions, {n: v for n, v in options.items() if n in general} | {"recipe": chosen})
    source = existing(raw, "raw")
    call = _Call("prepare", out, {"raw": source}, spec, resume, overwrite, quiet)

    def work(folder: Path, context: RunContext) -> DatasetInfo:
        from medcoss.preprocess.run import preprocess

        salt = os.environ.get("MEDCOSS_PATIENT_SALT", "").encode()
        # beside the work folder, which does not outlive the run
        return preprocess(spec, source, folder, context, salt=salt, unpacked=folder.parents[1] / UNPACKED)

    return _carry_out(call, "dataset", DatasetInfo, work, resumable=True)


@shows_options(PretrainOptions)
def pretrain(data: Folder, out: Folder, *, init_model: Folder | None = None, rehearsal: Folder | Sequence[Folder] = (),
             joint: Folder | Sequence[Folder] = (), vocabulary: Folder | None = None,
             measured_on: Folder | Sequence[Folder] = (), resume: bool = False, overwrite: bool = False,
             quiet: bool = False, **options: Any) -> ModelInfo:  # fmt: skip
    """Train one stage of continual pre-training on a prepared dataset; the encoder goes to `out`/model.

    `init_model` is the encoder to go on from, `rehearsal` the buffers of its earlier stages, `joint` datasets of other
    modalities that are learnt along, `vocabulary` a BERT vocab.txt for an encoder that has none,
    `measured_on` datasets whose patients in val and test are not to be trained on. Folders may be outputs of
    the other functions. An interrupted run goes on with the same call and `resume=True`. Raises BadInput, and Stopped
    on Ctrl-C.
    """
    refuse_unknown(pretrain, options, list(PretrainOptions.model_fields))
    spec = checked(PretrainOptions, options)
    dataset = found(data, "dataset", "data")
    model = found(init_model, "model", "init_model") if init_model is not None else None
    buffers = _listed(rehearsal)
    if buffers and model is None:
        raise BadInput("rehearsal needs init_model: the encoder that the buffers were built with", "rehearsal")
    kept = [found(buffer, "dataset", f"rehearsal[{i}]") for i, buffer in enumerate(buffers)]
    along = [found(one, "dataset", f"joint[{i}]") for i, one in enumerate(_listed(joint))]
    if kept and spec.method == "none":
        raise BadInput("method 'none' rehearses nothing; leave rehearsal out", "rehearsal")
    words = Path(vocabulary).expanduser().resolve() if vocabulary is not None else None
    if words is not None and not words.is_file():
        raise BadInput(f"there is no file {words}; expected a BERT vocab.txt", "vocabulary")
    others = _measured_on(measured_on)
    inputs = {"data": dataset, "init_model": model, "rehearsal": kept, "joint": along, "vocabulary": words,
              "measured_on": others}  # fmt: skip
    call = _Call("pretrain", out, inputs, spec, resume, overwrite, quiet)

    def work(folder: Path, context: RunContext) -> ModelInfo:
        from medcoss.training.pretrain import pretrain as train

        return train(spec, dataset, model, kept, folder, context, words, others, along)

    return _carry_out(call, "model", ModelInfo, work, resumable=True)


@shows_options(BuildBufferOptions)
def build_buffer(model: Folder, data: Folder, out: Folder, *, measured_on: Folder | Sequence[Folder] = (),
                 resume: bool = False, overwrite: bool = False, quiet: bool = False,
                 **options: Any) -> DatasetInfo:  # fmt: skip
    """Choose the rehearsal buffer of a prepared dataset by the features of an encoder; it goes to `out`/dataset.

    `model` is the encoder that has just learnt the dataset, `measured_on` are datasets whose patients in val and test
    are not to be trained on. An interrupted run goes on with the same call and `resume=True`. Raises BadInput, and
    Stopped on Ctrl-C.
    """
    _alone("build_buffer")
    refuse_unknown(build_buffer, options, list(BuildBufferOptions.model_fields))
    spec = checked(BuildBufferOptions, options)
    encoder, dataset = found(model, "model", "model"), found(data, "dataset", "data")
    others = _measured_on(measured_on)
    inputs = {"model": encoder, "data": dataset, "measured_on": others}
    call = _Call("build_buffer", out, inputs, spec, resume, overwrite, quiet)

    def work(folder: Path, context: RunContext) -> DatasetInfo:
        from medcoss.training.rehearsal import build_buffer as build

        return build(spec, encoder, dataset, folder, context, others)

    return _carry_out(call, "dataset", DatasetInfo, work, resumable=True)


@shows_options(FinetuneOptions, without=("task",))
def finetune(data: Folder, out: Folder, task: Literal["classification", "segmentation"] | None = None, *,
             init_model: Folder | None = None, measured_on: Folder | Sequence[Folder] = (), resume: bool = False,
             overwrite: bool = False, quiet: bool = False, **options: Any) -> ModelInfo:  # fmt: skip
    """Train a classifier or a segmenter on a prepared dataset with labels or masks; it goes to `out`/model.

    `task` may be left out with a `preset`. `init_model` is the encoder to start from; None starts from scratch.
    `measured_on` are datasets whose patients in val and test are not to be trained on. An interrupted run goes on with
    the same call and `resume=True`. Raises BadInput, and Stopped on Ctrl-C.
    """
    refuse_unknown(finetune, options, [name for name in FinetuneOptions.model_fields if name != "task"])
    spec = checked(FinetuneOptions, options if task is None else {"task": task, **options})
    dataset = found(data, "dataset", "data")
    model = found(init_model, "model", "init_model") if init_model is not None else None
    others = _measured_on(measured_on)
    inputs = {"data": dataset, "init_model": model, "measured_on": others}
    call = _Call("finetune", out, inputs, spec, resume, overwrite, quiet)

    def work(folder: Path, context: RunContext) -> ModelInfo:
        from medcoss.training.finetune import finetune as train

        return train(spec, dataset, model, folder, context, others)

    return _carry_out(call, "model", ModelInfo, work, resumable=True)
