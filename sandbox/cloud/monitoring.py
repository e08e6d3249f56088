"""The pretend Cloud Monitoring: ListTimeSeries and descriptors, with the real one's delays and refusals."""

import asyncio
import itertools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import grpc
import numpy as np
from google.api import metric_pb2
from google.cloud import monitoring_v3

from domain.ports import Clock
from sandbox.cloud import aligning
from sandbox.cloud.aligning import Aligned
from sandbox.cloud.descriptors import RESOURCES, Descriptor, Kind, ValueType
from sandbox.cloud.faults import Action, Faults
from sandbox.cloud.filters import BadFilter, Filter, parse
from sandbox.cloud.journal import Call, Journal
from sandbox.cloud.store import Points, Times

NAME = "google.monitoring.v3.MetricService"
MOST_POINTS = 100_000
"""Points in one page, however many are asked for; ``Monitoring.most_points`` can be set lower."""

LOOK_AROUND = 600
"""Seconds before and after the window in which the points beside a cumulative metric's boundary are found."""

ANSWERS_KEPT = 32
"""Answers of several pages that are kept for the pages to come."""

_Aligner = monitoring_v3.Aggregation.Aligner
_Reducer = monitoring_v3.Aggregation.Reducer
_KINDS = {
    Kind.GAUGE: metric_pb2.MetricDescriptor.GAUGE,
    Kind.DELTA: metric_pb2.MetricDescriptor.DELTA,
    Kind.CUMULATIVE: metric_pb2.MetricDescriptor.CUMULATIVE,
}
_TYPES = {
    ValueType.BOOL: metric_pb2.MetricDescriptor.BOOL,
    ValueType.INT64: metric_pb2.MetricDescriptor.INT64,
    ValueType.DOUBLE: metric_pb2.MetricDescriptor.DOUBLE,
    ValueType.DISTRIBUTION: metric_pb2.MetricDescriptor.DISTRIBUTION,
}


class _Refusal(Exception):
    def __init__(self, code: grpc.StatusCode, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


def _invalid(detail: str) -> _Refusal:
    return _Refusal(grpc.StatusCode.INVALID_ARGUMENT, detail)


@dataclass(frozen=True, slots=True)
class _Question:
    """A request that was found valid."""

    project: str
    descriptor: Descriptor
    filter: Filter
    edges: Times
    aligner: str
    reducer: str
    group_by: tuple[str, ...]


@dataclass(slots=True)
class _Answer:
    """What is left to be sent of an answer: series with the places of their points, newest first."""

    request: bytes
    question: _Question
    series: list[tuple[Aligned, list[int]]]


class Monitoring(Points):
    """MetricService. ``feed``, ``put`` and ``declare`` say what there is to see."""

    def __init__(self, clock: Clock, faults: Faults, journal: Journal) -> None:
        super().__init__()
        self._clock = clock
        self._faults = faults
        self._journal = journal
        self._answers: dict[str, _Answer] = {}
        self._tokens = itertools.count(1)
        self.most_points = MOST_POINTS

    def handler(self) -> Any:
        """The service for a gRPC server, made of the shipped message classes."""
        request, answer = monitoring_v3.ListTimeSeriesRequest.pb(), monitoring_v3.ListTimeSeriesResponse.pb()
        one = monitoring_v3.GetMetricDescriptorRequest.pb()
        many = (
            monitoring_v3.ListMetricDescriptorsRequest.pb(),
            monitoring_v3.ListMetricDescriptorsResponse.pb(),
        )
        methods = {
            "ListTimeSeries": (self._list_time_series, request, answer),
            "GetMetricDescriptor": (self._get_descriptor, one, metric_pb2.MetricDescriptor),
            "ListMetricDescriptors": (self._list_descriptors, *many),
        }
        return grpc.method_handlers_generic_handler(
            NAME,
            {
                name: grpc.unary_unary_rpc_method_handler(
                    self._told(name, call),
                    request_deserializer=asked.FromString,
                    response_serializer=answered.SerializeToString,
                )
                for name, (call, asked, answered) in methods.items()
            },
        )

    def _told(self, method: str, call: Any) -> Any:
        """A method with faults before it and the journal behind it."""

        async def answer(request: Any, context: Any) -> Any:
            metric = _metric_of(method, request)
            code, points = "CANCELLED", 0
            refused: _Refusal | None = None
            try:
                action = self._faults.take(method, metric)
                await _suffer(action)
                response = await call(request, action)
                if method == "ListTimeSeries":
                    points = sum(len(series.points) for series in response.time_series)
                code = "OK"
            except _Refusal as refusal:
                code, refused = refusal.code.name, refusal
            except Exception:
                code = "UNKNOWN"
                raise
            finally:
                project = request.name.split("/")[1] if "/" in request.name else ""
                asked = getattr(request, "filter", "")
                self._journal.calls.append(
                    Call(method, project, metric, self._clock.now(), code, points, asked)
                )
            # Only now: whoever reads the journal after the answer finds the call in it.
            if refused is not None:
                await context.abort(refused.code, refused.detail)
            return response

        return answer

    # The methods.

    async def _list_time_series(self, request: Any, action: Action | None) -> Any:
        if request.page_token:
            answer = self._answers.pop(request.page_token, None)
            if answer is None or answer.request != _without_page(request):
                raise _invalid("The page token is not of this request.")
        else:
            question = self._read(request)
            late = action.value if action is not None and action.trouble == "late" else 0
            nothing = action is not None and action.trouble == "empty"
            found = [] if nothing else self._look(question, late)
            answer = _Answer(_without_page(request), question, found)
        size = min(request.page_size or self.most_points, self.most_points)
        return await self._page(answer, size)

    async def _get_descriptor(self, request: Any, action: Action | None) -> Any:
        found = re.fullmatch(r"projects/[^/]+/metricDescriptors/(.+)", request.name)
        if found is None:
            raise _invalid(f"Name {request.name!r} is not of a metric descriptor.")
        descriptor = self.descriptors.get(found[1])
        if descriptor is None:
            raise _Refusal(grpc.StatusCode.NOT_FOUND, f"Could not find descriptor for metric '{found[1]}'.")
        return _described(descriptor, request.name.split("/")[1])

    async def _list_descriptors(self, request: Any, action: Action | None) -> Any:
        response = monitoring_v3.ListMetricDescriptorsResponse.pb()()
        wanted = re.fullmatch(
            r'\s*metric\.type\s*=\s*(?:starts_with\(\s*"([^"]*)"\s*\)|"([^"]*)")\s*', request.filter
        )
        if request.filter and wanted is None:
            raise _invalid("Only metric.type = and starts_with are pretended here.")
        for name in sorted(self.descriptors):
            prefix, same = (wanted[1], wanted[2]) if wanted else ("", None)
            if name == same or (prefix is not None and name.startswith(prefix)):
                project = request.name.split("/")[1]
                response.metric_descriptors.append(_described(self.descriptors[name], project))
        return response

    # Reading a request as strictly as the real one.

    def _read(self, request: Any) -> _Question:
        if not re.fullmatch(r"projects/[^/]+", request.name):
            raise _invalid(f"Name {request.name!r} must be that of a project.")
        descriptor, wanted = self._metric(request.filter)
        start, end = request.interval.start_time.seconds, request.interval.end_time.seconds
        if not end:
            raise _invalid("Field interval.endTime had an invalid value: it is required.")
        if start >= end:
            raise _invalid("Field interval.startTime had an invalid value: it must be before the end time.")
        if request.view != monitoring_v3.ListTimeSeriesRequest.TimeSeriesView.FULL or request.order_by:
            raise _Refusal(grpc.StatusCode.UNIMPLEMENTED, "Only the full view is pretended here.")
        aggregation = request.aggregation
        period = aggregation.alignment_period.seconds
        aligner, reducer = self._operations(descriptor, aggregation)
        if period < 60:
            raise _invalid("Field aggregation.alignmentPeriod had an invalid value: it must be at least 60s.")
        group_by = tuple(aggregation.group_by_fields)
        if group_by and reducer == "REDUCE_NONE":
            raise _invalid("Field aggregation.groupByFields had an invalid value: there is no reducer.")
        for path in group_by:
            _check_label(descriptor, path, "aggregation.groupByFields")
        steps = (end - start) // period
        edges = end - period * np.arange(steps, -1, -1, dtype=np.int64)
        return _Question(request.name.split("/")[1], descriptor, wanted, edges, aligner, reducer, group_by)

    def _metric(self, text: str) -> tuple[Descriptor, Filter]:
        """The one metric of a filter, whose fields all exist."""
        try:
            wanted = parse(text)
        except BadFilter as error:
            raise _invalid(f"Field filter had an invalid value of {text!r}: {error}") from error
        if len(wanted.metric_types) != 1:
            raise _invalid("Field filter had an invalid value: must specify exactly one metric.type.")
        (metric,) = wanted.metric_types
        descriptor = self.descriptors.get(metric)
        if descriptor is None:
            raise _Refusal(
                grpc.StatusCode.NOT_FOUND,
                f'Cannot find metric(s) that match type = "{metric}". It may be new.',
            )
        allowed = set(descriptor.resources) or set(RESOURCES)
        if not wanted.resource_types <= allowed:
            raise _invalid(
                "The supplied filter does not specify a valid combination of metric and monitored resource "
                "descriptors. The query will not return any time series."
            )
        for path in wanted.fields:
            if ".labels." in path:
                _check_label(descriptor, path, "filter")
        return descriptor, wanted

    def _operations(self, descriptor: Descriptor, aggregation: Any) -> tuple[str, str]:
        aligner, reducer = (
            _Aligner(aggregation.per_series_aligner).name,
            _Reducer(aggregation.cross_series_reducer).name,
        )
        if aligner not in aligning.ALIGNERS or reducer not in aligning.REDUCERS:
            raise _Refusal(grpc.StatusCode.UNIMPLEMENTED, f"{aligner} with {reducer} is not pretended here.")
        kinds, types = aligning.ALIGNERS[aligner]
        if descriptor.kind not in kinds or descriptor.value_type not in types:
            raise _invalid(
                f'Field aggregation.perSeriesAligner had an invalid value of "{aligner}": The aligner '
                f"cannot be applied to metrics with kind {descriptor.kind.name} and value type "
                f"{descriptor.value_type.name}."
            )
        aligned = descriptor.value_type
        if (
            aligner in {"ALIGN_RATE", "ALIGN_MEAN", "ALIGN_COUNT", "ALIGN_FRACTION_TRUE"}
            or "PERCENTILE" in aligner
        ):
            aligned = ValueType.DOUBLE
        if aligned not in aligning.REDUCERS[reducer]:
            raise _invalid(
                f'Field aggregation.crossSeriesReducer had an invalid value of "{reducer}": The reducer '
                f"cannot be applied to metrics with value type {aligned.name}."
            )
        return aligner, reducer

    # Answering.

    def _look(self, question: _Question, late: float) -> list[tuple[Aligned, list[int]]]:
        edges, descriptor = question.edges, question.descriptor
        if len(edges) < 2:
            return []
        around = LOOK_AROUND if descriptor.kind is Kind.CUMULATIVE else 0
        now = self._clock.now().timestamp()
        groups: dict[tuple[str, ...], list[Aligned]] = {}
        window = int(edges[0]) - around, int(edges[-1]) + around
        for raw in self.visible(descriptor, *window, now, late):
            fields = _fields(descriptor.type, raw.resource_type, raw.resource_labels, raw.metric_labels)
            if fields.get("resource.labels.project_id") != question.project or not question.filter.matches(
                fields
            ):
                continue
            aligned = aligning.align(raw, question.aligner, edges)
            names = tuple(fields) if question.reducer == "REDUCE_NONE" else question.group_by
            key = tuple(fields.get(name, "") for name in names)
            if question.reducer == "REDUCE_NONE":
                key = (*names, *key)
            groups.setdefault((raw.resource_type, *key), []).append(aligned)
        found = []
        for key in sorted(groups):
            reduced = _reduced(groups[key], question)
            places = np.flatnonzero(~np.isnan(reduced.values))[::-1].tolist()
            if places:
                reduced.resource_labels["resource.type"] = key[0]
                found.append((reduced, places))
        return found

    async def _page(self, answer: _Answer, size: int) -> Any:
        """So many points of the answer; the rest is kept under a token, in the middle of a series too."""
        response = monitoring_v3.ListTimeSeriesResponse.pb()()
        left = size
        while answer.series and left:
            aligned, places = answer.series[0]
            _write(response.time_series.add(), aligned, places[:left], answer.question)
            answer.series[0] = (aligned, places[left:])
            left -= min(left, len(places))
            if not answer.series[0][1]:
                answer.series.pop(0)
            await asyncio.sleep(0)
        if answer.series:
            response.next_page_token = f"page-{next(self._tokens)}"
            self._answers[response.next_page_token] = answer
            while len(self._answers) > ANSWERS_KEPT:
                self._answers.pop(next(iter(self._answers)))
        return response


def _metric_of(method: str, request: Any) -> str:
    """The metric type that a call is about, as well as it can be seen before reading it properly."""
    if method == "GetMetricDescriptor":
        return str(request.name).partition("/metricDescriptors/")[2]
    found = re.search(r'metric\.type\s*=\s*"([^"]*)"', request.filter)
    return found[1] if found else ""


async def _suffer(action: Action | None) -> None:
    match action:
        case Action("slow", seconds):
            await asyncio.sleep(seconds)
        case Action("quota"):
            raise _Refusal(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                "Quota exceeded for quota metric 'Time series queries' and limit "
                "'Time series queries per minute'.",
            )
        case Action("unavailable"):
            raise _Refusal(grpc.StatusCode.UNAVAILABLE, "The service is currently unavailable.")
        case Action("permission"):
            raise _Refusal(
                grpc.StatusCode.PERMISSION_DENIED,
                "Permission monitoring.timeSeries.list denied (or the resource may not exist).",
            )


def _without_page(request: Any) -> bytes:
    copied = type(request)()
    copied.CopyFrom(request)
    copied.page_token = ""
    return bytes(copied.SerializeToString())


def _check_label(descriptor: Descriptor, path: str, where: str) -> None:
    """Refuse a label that neither the metric nor any of its resources has."""
    side, _, name = path.partition(".labels.")
    if side == "metric":
        known = descriptor.labels is None or name in descriptor.labels
    elif side == "resource":
        known = any(name in RESOURCES[resource] for resource in descriptor.resources or RESOURCES)
    else:
        known = False
    if not known:
        raise _invalid(f'Field {where} had an invalid value of "{path}": no such label.')


def _fields(
    metric_type: str, resource_type: str, resource: Mapping[str, str], metric: Mapping[str, str]
) -> dict[str, str]:
    fields = {"metric.type": metric_type, "resource.type": resource_type, "project": resource["project_id"]}
    fields |= {f"resource.labels.{name}": value for name, value in resource.items()}
    return fields | {f"metric.labels.{name}": value for name, value in metric.items()}


def _reduced(group: list[Aligned], question: _Question) -> Aligned:
    """One series of a group, with the labels that it was grouped by; project_id always stays."""
    if question.reducer == "REDUCE_NONE":
        return group[0]
    reduced = aligning.reduce(group, question.reducer)

    def kept(labels: dict[str, str], side: str) -> dict[str, str]:
        return {name: value for name, value in labels.items() if f"{side}.labels.{name}" in question.group_by}

    resource = kept(reduced.resource_labels, "resource") | {"project_id": question.project}
    return replace(reduced, resource_labels=resource, metric_labels=kept(reduced.metric_labels, "metric"))


def _write(series: Any, aligned: Aligned, places: Iterable[int], question: _Question) -> None:
    """One series with these points into the response."""
    series.metric.type = question.descriptor.type
    series.metric.labels.update(aligned.metric_labels)
    labels = dict(aligned.resource_labels)
    series.resource.type = labels.pop("resource.type")
    series.resource.labels.update(labels)
    series.metric_kind = _KINDS[aligned.kind]
    series.value_type = _TYPES[aligned.value_type]
    series.unit = question.descriptor.unit
    ends, values, counts = question.edges.tolist(), aligned.values.tolist(), aligned.counts
    for place in places:
        point = series.points.add()
        point.interval.end_time.seconds = ends[place + 1]
        point.interval.start_time.seconds = ends[place] if aligned.kind is Kind.DELTA else ends[place + 1]
        match aligned.value_type:
            case ValueType.INT64:
                point.value.int64_value = round(values[place])
            case ValueType.DOUBLE:
                point.value.double_value = values[place]
            case ValueType.BOOL:
                point.value.bool_value = bool(values[place])
            case ValueType.DISTRIBUTION:
                assert counts is not None
                assert aligned.buckets is not None
                value, row = point.value.distribution_value, counts[place]
                value.count = int(row.sum())
                value.mean = values[place] / value.count if value.count else 0
                value.bucket_counts.extend(row.tolist())
                aligned.buckets.write(value.bucket_options)


def _described(descriptor: Descriptor, project: str) -> Any:
    """The protocol's descriptor; without delay and sampling where the owner gave none."""
    described = metric_pb2.MetricDescriptor(
        name=f"projects/{project}/metricDescriptors/{descriptor.type}",
        type=descriptor.type,
        metric_kind=_KINDS[descriptor.kind],
        value_type=_TYPES[descriptor.value_type],
        unit=descriptor.unit,
        monitored_resource_types=descriptor.resources,
    )
    for label in descriptor.labels or ():
        described.labels.add(key=label)
    if descriptor.ingest_delay is not None:
        described.metadata.ingest_delay.seconds = descriptor.ingest_delay
    if descriptor.sample_period is not None:
        described.metadata.sample_period.seconds = descriptor.sample_period
    return described
