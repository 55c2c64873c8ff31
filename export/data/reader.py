"""Files -> stretches of step features: the loop over blocks, with cache and progress bar."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path
from string import Formatter

import numpy as np
from tqdm import tqdm

from export.data.cache import load_read, save_read
from export.data.clock import Clock
from export.data.dataset import Batch, DatasetError
from export.data.findings import Finding, PlantError
from export.data.labels import utc_text
from export.data.plantspec import TIME_UNITS_S, PlantSpec, TagRow
from export.data.quality import findings_of_stretch
from export.data.source import (
    MISSING,
    RING_TIME,
    Block,
    check_columns,
    columns_of,
    number_columns,
    read_blocks,
    stem,
)
from export.data.stretch import Counts, FileRead, Part, StretchBuilder, common_notes

_YES_NO = {"true": 1.0, "false": 0.0, "yes": 1.0, "no": 0.0}
_OWN_WORDS = ("stem", "date")


def read_group_of_files(
    spec: PlantSpec, sets: Sequence[Sequence[Path]], cache: Path | None, quiet: bool
) -> Iterator[FileRead]:
    """Each set of files in turn; a set already in the cache is not read again.

    Raises DatasetError; every file's missing columns are named at once, before any is read.
    """
    tags = _resolve_tags(spec, sets[0][0])
    _check_all_columns(spec, tags, [file for files in sets for file in files])
    total = sum(file.stat().st_size for files in sets for file in files)
    with tqdm(
        desc=spec.name, total=total, unit="B", unit_scale=True, disable=quiet or None, delay=2.0
    ) as bar:
        for files in sets:
            read = load_read(spec, files, tags, cache) if cache is not None else None
            if read is None:
                try:
                    read = FileRead(*_read(spec, files, tags, bar.update), tags)
                except MemoryError:
                    raise DatasetError(
                        f"{files[0]}: the features of this file do not fit into memory; take "
                        "larger step_rows, or split the file. Files before it are kept with --cache"
                    ) from None
                if cache is not None:
                    save_read(spec, files, read, cache)
            else:
                bar.update(sum(file.stat().st_size for file in files))
            yield read


def _read(
    spec: PlantSpec,
    files: Sequence[Path],
    tags: tuple[TagRow, ...],
    progress: Callable[[int], object],
) -> tuple[list[Batch], list[Finding], Counts]:
    builders: dict[tuple[str, ...], tuple[StretchBuilder, dict[str, str], Path]] = {}
    keys_used = _columns_used(spec)
    findings: list[Finding] = []
    for file in files:
        clock = Clock(file, spec.time_format, spec.timezone)
        words = _file_words(spec, file)
        ring = file.suffix == ".ring"
        time = RING_TIME if ring else spec.time
        numbers = list(dict.fromkeys([tag.column for tag in tags]))
        texts = [] if ring else [*keys_used, *([spec.time] if spec.time else [])]
        if spec.label.column and not ring:
            as_text = spec.label.kind in ("class", "binary")
            (texts if as_text else numbers).append(spec.label.column)
        for block in read_blocks(spec, file, list(dict.fromkeys(numbers)), texts, progress):
            lines = block.first_row + 2 + np.arange(block.rows)
            if time:
                column = block.numbers[time] if ring else block.texts[time]
                t_s = clock.seconds(column, block.first_row)
            else:
                t_s = (block.first_row + np.arange(block.rows)) * spec.row_s
            x = np.stack([block.numbers[tag.column] for tag in tags], axis=1)
            mark = np.zeros(block.rows, np.float32) if ring else _marks(spec, file, block)
            for key, rows in _runs(block, keys_used):
                if key not in builders:
                    own = {**words, **dict(zip(keys_used, key))}
                    builders[key] = (_builder(spec, file, tags, bool(time)), own, file)
                builder = builders[key][0]
                builder.file = file
                builder.add(t_s[rows], x[rows], mark[rows], lines[rows])
    stretches: list[Batch] = []
    counts = Counts.of(len(tags))
    for builder, words, file in builders.values():
        made = _stretches(spec, builder, words, file)
        # A stretch that is left out shall not stop the others either.
        if not made or not any(_skipped(spec, batch) for batch in made):
            findings += builder.findings
            findings += findings_of_stretch(spec, builder, made)
            counts.add(builder.counts)
        stretches += made
    return stretches, findings, counts


def _builder(spec: PlantSpec, file: Path, tags: tuple[TagRow, ...], timed: bool) -> StretchBuilder:
    return StretchBuilder(
        file=file,
        tags=tags,
        row_s=spec.row_s,
        step_rows=spec.step_rows,
        insert_gaps=timed and spec.gaps == "insert",
        split_gap_s=spec.split_gap_h * 3600.0,
        label=spec.label,
    )


def _stretches(
    spec: PlantSpec, builder: StretchBuilder, words: dict[str, str], file: Path
) -> list[Batch]:
    out = []
    whole = spec.name if spec.join_files else "{stem}"
    for number, part in enumerate(builder.finish(), start=1):
        begin = utc_text(float(part.t_s[0]))
        day = begin[:10] if begin.endswith("UTC") else ""
        known = {**words, "date": day}
        group = _fill(spec, spec.group or whole, known)
        part_group = group if number == 1 else f"{group} part {number}"
        notes = {**common_notes(part, file), "mark": part.mark}
        if day:
            notes["day"] = day
        if number == 1:
            notes["prints"] = np.concatenate([p for p, _ in builder.prints])
            notes["raw_level"] = _level(builder.parts)
            notes["print_lines"] = np.concatenate([n for _, n in builder.prints])
        out.append(
            Batch(
                features=part.features,
                valid=part.valid,
                severity=np.zeros(len(part.mark), np.int8),
                domain=_fill(spec, spec.domain, known) if spec.domain else group,
                split="test",
                group=part_group,
                fault=_fill(spec, spec.fault, known) if spec.fault else "",
                notes=notes,
            )
        )
    return out


def _level(parts: Sequence[Part]) -> np.ndarray:
    """float32[2, P]: median level and noise of a stretch, of all finite values; NaN without one."""
    out = np.full((2, parts[0].raw_mean.shape[1]), np.nan, np.float32)
    for row, name in enumerate(("raw_mean", "raw_std")):
        values = np.concatenate([getattr(part, name) for part in parts])
        some = np.isfinite(values).any(axis=0)
        out[row, some] = np.nanmedian(values[:, some], axis=0)
    return out


def _marks(spec: PlantSpec, file: Path, block: Block) -> np.ndarray:
    """float32[N]: 0 normal, > 0 defective or stage or seconds to failure, -1 not to be used."""
    rule = spec.label
    if not rule.column:
        return np.zeros(block.rows, np.float32)
    if rule.kind == "class":
        words = np.array([str(w) for w in block.texts[rule.column].to_pylist()], object)
        mark = (~np.isin(words, rule.normal)).astype(np.float32)
        mark[np.isin(words, [*rule.unused, "None"])] = -1
        return mark
    if rule.kind == "binary":
        return _yes_or_no(spec, file, block)
    value = block.numbers[rule.column]
    if rule.kind == "countdown":
        value = value * TIME_UNITS_S[rule.unit]
    # A row without a label is not to be used, rather than normal.
    return np.where(np.isfinite(value), value, -1).astype(np.float32)


def _yes_or_no(spec: PlantSpec, file: Path, block: Block) -> np.ndarray:
    """A column of numbers, or of true and false."""
    words = np.array([str(w) for w in block.texts[spec.label.column].to_pylist()])
    some, first, place = np.unique(words, return_index=True, return_inverse=True)
    values = np.full(len(some), -1, np.float32)
    for number, word in enumerate(some.tolist()):
        if word.casefold() in _YES_NO:
            values[number] = _YES_NO[word.casefold()]
        elif word not in MISSING:
            try:
                values[number] = float(word.replace(spec.decimal, "."))
            except ValueError:
                raise DatasetError(
                    f"{file}:{block.first_row + int(first[number]) + 2}: label '{word}' is neither "
                    'a number nor true or false; write label = { column = ..., kind = "class" }'
                ) from None
    values[np.isnan(values)] = -1
    return values[place]


def _runs(block: Block, columns: Sequence[str]) -> Iterator[tuple[tuple[str, ...], slice]]:
    """Consecutive rows of one stretch."""
    if not columns:
        yield (), slice(0, block.rows)
        return
    values = [np.asarray(block.texts[c].cast("string").to_pylist(), object) for c in columns]
    change = np.zeros(block.rows, bool)
    change[0] = True
    for value in values:
        change[1:] |= value[1:] != value[:-1]
    starts = np.flatnonzero(change)
    for first, end in zip(starts, [*starts[1:], block.rows]):
        yield tuple(str(value[first]) for value in values), slice(int(first), int(end))


def _columns_used(spec: PlantSpec) -> list[str]:
    """Columns that the templates name; `group` may also be the bare name of a column."""
    words = _words(spec.group) if "{" in spec.group else ([spec.group] if spec.group else [])
    words += [*_words(spec.domain), *_words(spec.fault)]
    own = {*_OWN_WORDS, *_pattern_words(spec)}
    return [word for word in dict.fromkeys(words) if word not in own]


def _words(template: str) -> list[str]:
    return [name for _, name, _, _ in Formatter().parse(template) if name]


def _pattern_words(spec: PlantSpec) -> list[str]:
    return list(re.compile(spec.file_pattern).groupindex) if spec.file_pattern else []


def _file_words(spec: PlantSpec, file: Path) -> dict[str, str]:
    words = {"stem": stem(file)}
    if spec.file_pattern:
        match = re.search(spec.file_pattern, file.name)
        if match is None:
            raise DatasetError(
                f"{file}: the name does not fit file_pattern = {spec.file_pattern!r} of {spec.path}"
            )
        words |= {name: value or "" for name, value in match.groupdict().items()}
    return words


def _fill(spec: PlantSpec, template: str, words: dict[str, str]) -> str:
    if "{" not in template:
        return words.get(template, template)
    return template.format_map(words)


def _resolve_tags(spec: PlantSpec, file: Path) -> tuple[TagRow, ...]:
    if not spec.auto_tags:
        return spec.tags
    listed = {tag.column for tag in spec.tags}
    taken = {*listed, spec.time, spec.label.column, *_columns_used(spec)}
    found = [
        name
        for name in number_columns(spec, file)
        if name not in taken and any(fnmatch(name, pattern) for pattern in spec.auto_tags)
    ]
    if not found and not spec.tags:
        raise DatasetError(
            f"{file}: no column fits auto_tags = {list(spec.auto_tags)} of {spec.path}"
        )
    auto = tuple(TagRow(name=name, column=name, component=name) for name in found)
    return (*spec.tags, *auto)


def _check_all_columns(spec: PlantSpec, tags: Sequence[TagRow], files: Sequence[Path]) -> None:
    wanted = {tag.column: f"tag '{tag.name}'" for tag in tags}
    faults = []
    for file in files:
        if file.suffix == ".ring":
            continue
        more = dict.fromkeys(_columns_used(spec), "named in `group`, `domain` or `fault`")
        if spec.time:
            more[spec.time] = "time"
        if spec.label.column:
            more[spec.label.column] = "label"
        have = columns_of(spec, file)
        if not have:
            faults.append(Finding(str(file), 0, "tags", "holds no data rows", fault=True))
            continue
        twice = sorted({name for name in have if have.count(name) > 1} & {*wanted, *more})
        messages = check_columns(file, have, {**wanted, **more})
        messages += [f"column '{name}' is there twice; rename one" for name in twice]
        faults += [Finding(str(file), 1, "tags", text, fault=True) for text in messages]
    if faults:
        raise PlantError(faults)


def _skipped(spec: PlantSpec, batch: Batch) -> bool:
    return any(fnmatch(batch.group, pattern) for pattern in spec.skip)
