-- What the whole edge writes: TLS, sessions, traces, pools, what a model call costs and says, and which of a
-- flood was challenged. Each column stands where model/logstore.py has it. What is older reads as 0 or empty; where it
-- said the same in another place, the default finds it there.

ALTER TABLE access
    ADD COLUMN IF NOT EXISTS client_asn UInt32 CODEC(ZSTD(1)) AFTER client_country,
    ADD COLUMN IF NOT EXISTS client_port UInt16 CODEC(ZSTD(1)) AFTER client_asn,
    ADD COLUMN IF NOT EXISTS tls_protocol_version LowCardinality(String) CODEC(ZSTD(1)) AFTER network_protocol_version,
    ADD COLUMN IF NOT EXISTS tls_cipher LowCardinality(String) CODEC(ZSTD(1)) AFTER tls_protocol_version,
    ADD COLUMN IF NOT EXISTS tls_client_ja4 LowCardinality(String) CODEC(ZSTD(1)) AFTER tls_cipher,
    ADD COLUMN IF NOT EXISTS http_response_content_type LowCardinality(String) CODEC(ZSTD(1)) AFTER http_response_body_size,
    ADD COLUMN IF NOT EXISTS upstream_pool LowCardinality(String) CODEC(ZSTD(1)) AFTER upstream_address,
    ADD COLUMN IF NOT EXISTS upstream_tries UInt8 CODEC(ZSTD(1)) AFTER upstream_duration,
    ADD COLUMN IF NOT EXISTS trace_id String CODEC(ZSTD(1)) AFTER request_id,
    ADD COLUMN IF NOT EXISTS session_hash String CODEC(ZSTD(1)) AFTER key_hash,
    ADD COLUMN IF NOT EXISTS error_type LowCardinality(String) DEFAULT attributes['error'] CODEC(ZSTD(1)) AFTER verdict_rule;

ALTER TABLE llm
    ADD COLUMN IF NOT EXISTS tls_client_ja4 LowCardinality(String) CODEC(ZSTD(1)) AFTER client_country,
    ADD COLUMN IF NOT EXISTS gen_ai_response_id String CODEC(ZSTD(1)) AFTER gen_ai_response_model,
    ADD COLUMN IF NOT EXISTS gen_ai_usage_cache_read_input_tokens UInt64 CODEC(ZSTD(1)) AFTER gen_ai_usage_input_tokens,
    ADD COLUMN IF NOT EXISTS gen_ai_usage_cache_creation_input_tokens UInt64 CODEC(ZSTD(1)) AFTER gen_ai_usage_cache_read_input_tokens,
    ADD COLUMN IF NOT EXISTS gen_ai_usage_reasoning_output_tokens UInt64 CODEC(ZSTD(1)) AFTER gen_ai_usage_output_tokens,
    ADD COLUMN IF NOT EXISTS gen_ai_usage_estimated UInt8 CODEC(ZSTD(1)) AFTER gen_ai_usage_reasoning_output_tokens,
    ADD COLUMN IF NOT EXISTS cost Float64 CODEC(ZSTD(1)) AFTER gen_ai_usage_estimated,
    ADD COLUMN IF NOT EXISTS prompt String CODEC(ZSTD(1)) AFTER gen_ai_conversation_id,
    ADD COLUMN IF NOT EXISTS answer String CODEC(ZSTD(1)) AFTER prompt,
    ADD COLUMN IF NOT EXISTS client_left UInt8 DEFAULT attributes['error'] = 'client_left' CODEC(ZSTD(1)) AFTER streamed,
    ADD COLUMN IF NOT EXISTS tokens_per_second Float64 CODEC(ZSTD(1)) AFTER time_to_first_token,
    ADD COLUMN IF NOT EXISTS queue_duration Float64 CODEC(ZSTD(1)) AFTER tokens_per_second,
    ADD COLUMN IF NOT EXISTS upstream_pool LowCardinality(String) CODEC(ZSTD(1)) AFTER upstream_address,
    ADD COLUMN IF NOT EXISTS trace_id String CODEC(ZSTD(1)) AFTER request_id,
    ADD COLUMN IF NOT EXISTS session_hash String CODEC(ZSTD(1)) AFTER key_hash,
    ADD COLUMN IF NOT EXISTS error_type LowCardinality(String) DEFAULT attributes['error'] CODEC(ZSTD(1)) AFTER verdict_rule;

ALTER TABLE ddos
    ADD COLUMN IF NOT EXISTS client_asn UInt32 CODEC(ZSTD(1)) AFTER client_country,
    ADD COLUMN IF NOT EXISTS cc_blocks UInt8 DEFAULT verdict IN ('limit', 'block') CODEC(ZSTD(1)) AFTER verdict_rule,
    ADD COLUMN IF NOT EXISTS last_result LowCardinality(String) DEFAULT multiIf(verdict = '', '', verdict = 'pass', 'ok', 'failed') CODEC(ZSTD(1)) AFTER cc_blocks,
    ADD COLUMN IF NOT EXISTS http_request_method LowCardinality(String) CODEC(ZSTD(1)) AFTER server_address,
    ADD COLUMN IF NOT EXISTS url_path String CODEC(ZSTD(1)) AFTER http_request_method,
    ADD COLUMN IF NOT EXISTS tls_client_ja4 LowCardinality(String) CODEC(ZSTD(1)) AFTER url_path,
    ADD COLUMN IF NOT EXISTS key_hash LowCardinality(String) CODEC(ZSTD(1)) AFTER tls_client_ja4,
    ADD COLUMN IF NOT EXISTS session_hash String CODEC(ZSTD(1)) AFTER key_hash;
