"""What our fields are called in Elastic Common Schema and in OpenTelemetry's log data model: a part of the page.

Sources, read in November 2026: ECS 9.3 with its table of alignment to OpenTelemetry; OpenTelemetry specification 1.55
(logs data model) and semantic conventions 1.38; the documentation of the Collector's file_log receiver, its operators
and the transform processor.
"""

#: Our field, its name in ECS, and its place in OpenTelemetry.
FIELDS = (
    ("timestamp", "`@timestamp`", "`Timestamp`"),
    ("level", "`log.level`", "`SeverityText`, and `SeverityNumber` 9 (info), 13 (warning) or 17 (error)"),
    ("event", "`event.action`", "`EventName` (the attribute `event.name` is deprecated)"),
    ("schema", "`despensa.schema`", "attribute `despensa.schema`"),
    ("service.name", "`service.name`", "resource attribute `service.name`"),
    ("service.version", "`service.version`", "resource attribute `service.version`"),
    ("service.instance.id", "`service.node.name`", "resource attribute `service.instance.id`"),
    ("seq", "`event.sequence`", "attribute `despensa.seq`"),
    ("hash", "`event.hash`", "attribute `despensa.hash`"),
    ("error", "`error.type`", "attribute `error.type`"),
    ("operator", "`user.name`", "attribute `user.name`"),
    ("message_id", "`despensa.message_id`", "attribute `messaging.message.id`"),
    ("duration_ms", "`event.duration`, times 1,000,000: it is in nanoseconds", "attribute `despensa.duration_ms`"),
    ("outcome", "`despensa.outcome`: `event.outcome` takes other words", "attribute `despensa.outcome`"),
)
#: Of fields that have no row.
OTHERS = ("every other field", "`despensa.` and its name", "attribute `despensa.` and its name")

#: A stage of the OpenTelemetry Collector that does it.
COLLECTOR = """\
receivers:
  file_log:  # called filelog before version 0.149
    include: [/var/log/despensa/*.jsonl]
    start_at: beginning
    operators:
      - type: json_parser
        parse_to: attributes.despensa
        timestamp: {parse_from: attributes.despensa.timestamp, layout: '%Y-%m-%dT%H:%M:%S.%fZ', location: UTC}
        severity: {parse_from: attributes.despensa.level, mapping: {warn: warning}}
      - {type: move, from: 'attributes.despensa["service.name"]', to: 'resource["service.name"]'}
      - {type: move, from: 'attributes.despensa["service.version"]', to: 'resource["service.version"]'}
      - {type: move, from: 'attributes.despensa["service.instance.id"]', to: 'resource["service.instance.id"]'}
      - {type: remove, field: attributes.despensa.timestamp}
      - {type: remove, field: attributes.despensa.level}
processors:
  transform:
    log_statements:
      - set(log.event_name, log.attributes["despensa"]["event"])
      - delete_key(log.attributes["despensa"], "event")
      - set(log.attributes["error.type"], log.attributes["despensa"]["error"])
      - set(log.attributes["user.name"], log.attributes["despensa"]["operator"])
      - set(log.attributes["messaging.message.id"], log.attributes["despensa"]["message_id"])
      - flatten(log.attributes)
"""

PREFACE = """\
## In other schemas

Our names are our own, since most fields have no counterpart. One stage of the pipeline renames the rest:"""

AFTERWORD = f"""\
`seq` and `hash` must get through whole: who drops lines, changes a field or its type, or adds one inside the line can
no longer prove the log. Keep the files for `despensa logs verify`, and send copies on. Labels of Loki, or whatever else
makes one stream of each value: `service.name`, `level` and `event`, never an id.

For OpenTelemetry the Collector (its contrib distribution) does it so; Elastic's exporters name the result as ECS does:

```yaml
{COLLECTOR}```

A test holds the field names of this page against the catalogue and reads the sample as YAML. It was written after the
documentation named in `console/log_mappings.py`, and was **not** run: no Collector, Vector, Alloy or Elasticsearch was
at hand. Look at its first lines with the `debug` exporter."""


def rows() -> list[tuple[str, ...]]:
    """The table of names."""
    return [*((f"`{name}`", ecs, otel) for name, ecs, otel in FIELDS), OTHERS]
