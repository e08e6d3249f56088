"""What is counted, by fixed labels only: no ids, no names, no text from outside."""

from prometheus_client import Counter, Gauge, Histogram

accepted = Counter("toban_inbox_accepted_total", "Deliveries committed to the inbox.", ["kind"])
refused = Counter("toban_inbox_refused_total", "Deliveries not accepted.", ["kind", "code"])
drained = Counter("toban_inbox_drained_total", "Deliveries that had their effect.")
quarantined = Counter("toban_inbox_quarantined_total", "Deliveries that could not be understood.", ["kind"])
unreadable = Counter(
    "toban_storage_unreadable_total", "Rows set aside because they could not be read.", ["table"]
)
signals = Counter("toban_signals_total", "Signals by what they meant.", ["reason"])
incidents = Counter("toban_incidents_opened_total", "Incidents opened.", ["severity", "by"])
pages = Counter("toban_pages_total", "Attempts to reach a person.", ["means", "status"])
sent = Counter("toban_outbox_attempts_total", "Messages by what an attempt came to.", ["kind", "outcome"])
delay = Histogram(
    "toban_outbox_first_send_seconds",
    "From a message's commit to its first appearance in Slack.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
)
pictures = Counter("toban_pictures_total", "Pictures below notes, by what came of them.", ["outcome"])
oldest_delivery = Gauge("toban_inbox_oldest_seconds", "Age of the oldest delivery that waits for the drain.")
oldest_message = Gauge("toban_outbox_oldest_seconds", "Age of the oldest message that waits to be sent.")
problem = Gauge("toban_problem", "1 for each thing that is wrong now and needs a person.", ["name"])
ready = Gauge("toban_ready", "1 while deliveries can be accepted and kept.")
ticks = Counter("toban_job_ticks_total", "Turns of each loop.", ["job", "outcome"])
removed = Counter("toban_removed_total", "Old rows and bodies that went, by kind.", ["kind"])
retention_seconds = Histogram(
    "toban_retention_batch_seconds",
    "How long one batch of the retention held the database's writer.",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5),
)
runs = Counter("toban_job_runs_total", "Runs of recurring jobs.", ["job", "outcome"])
run_seconds = Histogram(
    "toban_job_run_seconds",
    "How long a run of a recurring job took.",
    ["job"],
    buckets=(0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300),
)
verdicts = Counter("toban_finding_verdicts_total", "What people said about anomalies.", ["kind"])
judged = Counter(
    "toban_judged_total", "Rules and probes judged, and those that could not be.", ["kind", "outcome"]
)
backups = Counter("toban_backups_total", "Backups by what became of them.", ["standing"])
backup_state = Gauge(
    "toban_backup_state_timestamp_seconds",
    "The moment whose state the newest verified backup holds, since 1970: time() minus this is the RPO.",
    ["plan"],
)
backup_seconds = Histogram(
    "toban_backup_seconds",
    "From the beginning of a backup to its verdict.",
    buckets=(1, 5, 15, 60, 300, 900, 1800, 3600, 7200, 14400, 28800),
)
drills = Counter("toban_drills_total", "Restore drills by what came of them.", ["outcome"])
drill_seconds = Gauge(
    "toban_drill_recovery_seconds", "How long the last passed restore drill took: the RTO now.", ["plan"]
)
rollouts = Counter("toban_rollout_stages_total", "Deploys by the stages that they came to.", ["stage"])
updates = Counter(
    "toban_cloud_run_updates_total", "Updates of services that we made.", ["purpose", "outcome"]
)
approvals = Counter(
    "toban_approvals_total", "Clicks on Approve and Reject by what came of them.", ["outcome"]
)
