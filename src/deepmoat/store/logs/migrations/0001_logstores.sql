-- The built-in logstores. Columns are those of model/logstore.py; a test holds the two together.
-- Sorted by the ten minutes first, then by what queries filter on, so that the newest seconds and one
-- client's history are both short reads.

CREATE TABLE IF NOT EXISTS access (
    time DateTime64(9, 'UTC') CODEC(Delta(8), ZSTD(1)),
    source LowCardinality(String) CODEC(ZSTD(1)),
    client_address IPv6 CODEC(ZSTD(1)),
    client_country LowCardinality(String) CODEC(ZSTD(1)),
    http_request_method LowCardinality(String) CODEC(ZSTD(1)),
    server_address LowCardinality(String) CODEC(ZSTD(1)),
    url_path String CODEC(ZSTD(1)),
    url_query String CODEC(ZSTD(1)),
    http_response_status_code UInt16 CODEC(ZSTD(1)),
    url_scheme LowCardinality(String) CODEC(ZSTD(1)),
    network_protocol_version LowCardinality(String) CODEC(ZSTD(1)),
    http_request_body_size UInt64 CODEC(ZSTD(1)),
    http_response_body_size UInt64 CODEC(ZSTD(1)),
    duration Float64 CODEC(ZSTD(1)),
    user_agent_original String CODEC(ZSTD(1)),
    http_request_referer String CODEC(ZSTD(1)),
    upstream_address LowCardinality(String) CODEC(ZSTD(1)),
    upstream_status_code UInt16 CODEC(ZSTD(1)),
    upstream_duration Float64 CODEC(ZSTD(1)),
    request_id String CODEC(ZSTD(1)),
    user_name String CODEC(ZSTD(1)),
    key_hash LowCardinality(String) CODEC(ZSTD(1)),
    verdict LowCardinality(String) CODEC(ZSTD(1)),
    verdict_rule LowCardinality(String) CODEC(ZSTD(1)),
    body String CODEC(ZSTD(1)),
    attributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    INDEX client_address_bloom client_address TYPE bloom_filter(0.01) GRANULARITY 4
) ENGINE = MergeTree
PARTITION BY toDate(time)
ORDER BY (toStartOfTenMinutes(time), client_address, time)
SETTINGS non_replicated_deduplication_window = 20000, min_free_disk_bytes_to_perform_insert = 268435456,
    fsync_after_insert = 1, fsync_part_directory = 1, max_bytes_to_merge_at_max_space_in_pool = 2147483648;

CREATE TABLE IF NOT EXISTS llm (
    time DateTime64(9, 'UTC') CODEC(Delta(8), ZSTD(1)),
    source LowCardinality(String) CODEC(ZSTD(1)),
    client_address IPv6 CODEC(ZSTD(1)),
    client_country LowCardinality(String) CODEC(ZSTD(1)),
    http_request_method LowCardinality(String) CODEC(ZSTD(1)),
    server_address LowCardinality(String) CODEC(ZSTD(1)),
    url_path String CODEC(ZSTD(1)),
    url_query String CODEC(ZSTD(1)),
    http_response_status_code UInt16 CODEC(ZSTD(1)),
    gen_ai_provider_name LowCardinality(String) CODEC(ZSTD(1)),
    gen_ai_operation_name LowCardinality(String) CODEC(ZSTD(1)),
    gen_ai_request_model LowCardinality(String) CODEC(ZSTD(1)),
    gen_ai_response_model LowCardinality(String) CODEC(ZSTD(1)),
    gen_ai_usage_input_tokens UInt64 CODEC(ZSTD(1)),
    gen_ai_usage_output_tokens UInt64 CODEC(ZSTD(1)),
    gen_ai_response_finish_reason LowCardinality(String) CODEC(ZSTD(1)),
    gen_ai_conversation_id String CODEC(ZSTD(1)),
    streamed UInt8 CODEC(ZSTD(1)),
    duration Float64 CODEC(ZSTD(1)),
    time_to_first_token Float64 CODEC(ZSTD(1)),
    upstream_address LowCardinality(String) CODEC(ZSTD(1)),
    request_id String CODEC(ZSTD(1)),
    user_name String CODEC(ZSTD(1)),
    key_hash LowCardinality(String) CODEC(ZSTD(1)),
    verdict LowCardinality(String) CODEC(ZSTD(1)),
    verdict_rule LowCardinality(String) CODEC(ZSTD(1)),
    body String CODEC(ZSTD(1)),
    attributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    INDEX client_address_bloom client_address TYPE bloom_filter(0.01) GRANULARITY 4
) ENGINE = MergeTree
PARTITION BY toDate(time)
ORDER BY (toStartOfTenMinutes(time), key_hash, time)
SETTINGS non_replicated_deduplication_window = 20000, min_free_disk_bytes_to_perform_insert = 268435456,
    fsync_after_insert = 1, fsync_part_directory = 1, max_bytes_to_merge_at_max_space_in_pool = 2147483648;

CREATE TABLE IF NOT EXISTS security (
    time DateTime64(9, 'UTC') CODEC(Delta(8), ZSTD(1)),
    source LowCardinality(String) CODEC(ZSTD(1)),
    client_address IPv6 CODEC(ZSTD(1)),
    client_country LowCardinality(String) CODEC(ZSTD(1)),
    event_action LowCardinality(String) CODEC(ZSTD(1)),
    event_outcome LowCardinality(String) CODEC(ZSTD(1)),
    event_reason LowCardinality(String) CODEC(ZSTD(1)),
    service_name LowCardinality(String) CODEC(ZSTD(1)),
    server_address LowCardinality(String) CODEC(ZSTD(1)),
    user_name String CODEC(ZSTD(1)),
    request_id String CODEC(ZSTD(1)),
    body String CODEC(ZSTD(1)),
    attributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    INDEX client_address_bloom client_address TYPE bloom_filter(0.01) GRANULARITY 4
) ENGINE = MergeTree
PARTITION BY toDate(time)
ORDER BY (toStartOfTenMinutes(time), client_address, time)
SETTINGS non_replicated_deduplication_window = 20000, min_free_disk_bytes_to_perform_insert = 268435456,
    fsync_after_insert = 1, fsync_part_directory = 1, max_bytes_to_merge_at_max_space_in_pool = 2147483648;

CREATE TABLE IF NOT EXISTS waf (
    time DateTime64(9, 'UTC') CODEC(Delta(8), ZSTD(1)),
    source LowCardinality(String) CODEC(ZSTD(1)),
    client_address IPv6 CODEC(ZSTD(1)),
    client_country LowCardinality(String) CODEC(ZSTD(1)),
    http_request_method LowCardinality(String) CODEC(ZSTD(1)),
    server_address LowCardinality(String) CODEC(ZSTD(1)),
    url_path String CODEC(ZSTD(1)),
    url_query String CODEC(ZSTD(1)),
    http_response_status_code UInt16 CODEC(ZSTD(1)),
    rule_ids String CODEC(ZSTD(1)),
    score UInt32 CODEC(ZSTD(1)),
    request_id String CODEC(ZSTD(1)),
    user_name String CODEC(ZSTD(1)),
    key_hash LowCardinality(String) CODEC(ZSTD(1)),
    verdict LowCardinality(String) CODEC(ZSTD(1)),
    verdict_rule LowCardinality(String) CODEC(ZSTD(1)),
    body String CODEC(ZSTD(1)),
    attributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    INDEX client_address_bloom client_address TYPE bloom_filter(0.01) GRANULARITY 4
) ENGINE = MergeTree
PARTITION BY toDate(time)
ORDER BY (toStartOfTenMinutes(time), client_address, time)
SETTINGS non_replicated_deduplication_window = 20000, min_free_disk_bytes_to_perform_insert = 268435456,
    fsync_after_insert = 1, fsync_part_directory = 1, max_bytes_to_merge_at_max_space_in_pool = 2147483648;

CREATE TABLE IF NOT EXISTS ddos (
    time DateTime64(9, 'UTC') CODEC(Delta(8), ZSTD(1)),
    source LowCardinality(String) CODEC(ZSTD(1)),
    client_address IPv6 CODEC(ZSTD(1)),
    client_country LowCardinality(String) CODEC(ZSTD(1)),
    vector LowCardinality(String) CODEC(ZSTD(1)),
    cc_phase LowCardinality(String) CODEC(ZSTD(1)),
    verdict LowCardinality(String) CODEC(ZSTD(1)),
    verdict_rule LowCardinality(String) CODEC(ZSTD(1)),
    server_address LowCardinality(String) CODEC(ZSTD(1)),
    requests UInt64 CODEC(ZSTD(1)),
    body String CODEC(ZSTD(1)),
    attributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    INDEX client_address_bloom client_address TYPE bloom_filter(0.01) GRANULARITY 4
) ENGINE = MergeTree
PARTITION BY toDate(time)
ORDER BY (toStartOfTenMinutes(time), client_address, time)
SETTINGS non_replicated_deduplication_window = 20000, min_free_disk_bytes_to_perform_insert = 268435456,
    fsync_after_insert = 1, fsync_part_directory = 1, max_bytes_to_merge_at_max_space_in_pool = 2147483648;

CREATE TABLE IF NOT EXISTS flow (
    time DateTime64(9, 'UTC') CODEC(Delta(8), ZSTD(1)),
    source LowCardinality(String) CODEC(ZSTD(1)),
    client_address IPv6 CODEC(ZSTD(1)),
    client_country LowCardinality(String) CODEC(ZSTD(1)),
    server_address LowCardinality(String) CODEC(ZSTD(1)),
    network_transport LowCardinality(String) CODEC(ZSTD(1)),
    client_port UInt16 CODEC(ZSTD(1)),
    server_port UInt16 CODEC(ZSTD(1)),
    packets UInt64 CODEC(ZSTD(1)),
    bytes UInt64 CODEC(ZSTD(1)),
    body String CODEC(ZSTD(1)),
    attributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    INDEX client_address_bloom client_address TYPE bloom_filter(0.01) GRANULARITY 4
) ENGINE = MergeTree
PARTITION BY toDate(time)
ORDER BY (toStartOfTenMinutes(time), server_address, time)
SETTINGS non_replicated_deduplication_window = 20000, min_free_disk_bytes_to_perform_insert = 268435456,
    fsync_after_insert = 1, fsync_part_directory = 1, max_bytes_to_merge_at_max_space_in_pool = 2147483648;

CREATE TABLE IF NOT EXISTS app (
    time DateTime64(9, 'UTC') CODEC(Delta(8), ZSTD(1)),
    source LowCardinality(String) CODEC(ZSTD(1)),
    severity_text LowCardinality(String) CODEC(ZSTD(1)),
    severity_number UInt8 CODEC(ZSTD(1)),
    service_name LowCardinality(String) CODEC(ZSTD(1)),
    host_name LowCardinality(String) CODEC(ZSTD(1)),
    scope_name LowCardinality(String) CODEC(ZSTD(1)),
    trace_id String CODEC(ZSTD(1)),
    span_id String CODEC(ZSTD(1)),
    body String CODEC(ZSTD(1)),
    attributes Map(LowCardinality(String), String) CODEC(ZSTD(1))
) ENGINE = MergeTree
PARTITION BY toDate(time)
ORDER BY (toStartOfTenMinutes(time), service_name, time)
SETTINGS non_replicated_deduplication_window = 20000, min_free_disk_bytes_to_perform_insert = 268435456,
    fsync_after_insert = 1, fsync_part_directory = 1, max_bytes_to_merge_at_max_space_in_pool = 2147483648;

CREATE TABLE IF NOT EXISTS audit (
    time DateTime64(9, 'UTC') CODEC(Delta(8), ZSTD(1)),
    source LowCardinality(String) CODEC(ZSTD(1)),
    client_address IPv6 CODEC(ZSTD(1)),
    user_name String CODEC(ZSTD(1)),
    event_action LowCardinality(String) CODEC(ZSTD(1)),
    event_outcome LowCardinality(String) CODEC(ZSTD(1)),
    incident String CODEC(ZSTD(1)),
    body String CODEC(ZSTD(1)),
    attributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    INDEX client_address_bloom client_address TYPE bloom_filter(0.01) GRANULARITY 4
) ENGINE = MergeTree
PARTITION BY toDate(time)
ORDER BY (time)
SETTINGS non_replicated_deduplication_window = 20000, min_free_disk_bytes_to_perform_insert = 268435456,
    fsync_after_insert = 1, fsync_part_directory = 1, max_bytes_to_merge_at_max_space_in_pool = 2147483648;

CREATE TABLE IF NOT EXISTS rejected (
    time DateTime64(9, 'UTC') CODEC(Delta(8), ZSTD(1)),
    source LowCardinality(String) CODEC(ZSTD(1)),
    logstore LowCardinality(String) CODEC(ZSTD(1)),
    receiver LowCardinality(String) CODEC(ZSTD(1)),
    segment String CODEC(ZSTD(1)),
    reason String CODEC(ZSTD(1)),
    body String CODEC(ZSTD(1)),
    attributes Map(LowCardinality(String), String) CODEC(ZSTD(1))
) ENGINE = MergeTree
PARTITION BY toDate(time)
ORDER BY (time)
SETTINGS non_replicated_deduplication_window = 20000, min_free_disk_bytes_to_perform_insert = 268435456,
    fsync_after_insert = 1, fsync_part_directory = 1, max_bytes_to_merge_at_max_space_in_pool = 2147483648;
