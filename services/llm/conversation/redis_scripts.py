"""What the Redis server does in one step. Each script replies a word, its clock in milliseconds, and what it found.

A conversation is a hash: `doc` and `version`, and for each claim its holder and its end (`turn`, `turn_until`). A
sorted set of the ids of all, by the end of their lives, counts them. What makes a server grow comes before any other
write: a server that is full refuses it only there, and then nothing is half done.
"""

_CLOCK = """
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
"""
_USE = """
local function use(ttl, id)
  redis.call('PEXPIRE', KEYS[1], ttl)
  redis.call('ZADD', KEYS[2], now + ttl, id)
  redis.call('PEXPIRE', KEYS[2], ttl)
end
local function taken(what, holder)
  local claim = redis.call('HMGET', KEYS[1], what, what .. '_until')
  return claim[1] and claim[1] ~= holder and tonumber(claim[2]) > now
end
"""

# KEYS: any key
OPEN = f"{_CLOCK} redis.call('SET', KEYS[1], '1', 'PX', 1000) return {{'ok', now}}"

# KEYS: conversation, index; ARGV: document, version, ttl, id, limit
CREATE = f"""{_CLOCK}{_USE}
local known = redis.call('HGET', KEYS[1], 'doc')
if known then return {{known == ARGV[1] and 'ok' or 'taken', now}} end
local alive = '(' .. now
if redis.call('ZCOUNT', KEYS[2], alive, '+inf') >= tonumber(ARGV[5]) then
  return {{'full', now, redis.call('ZRANGEBYSCORE', KEYS[2], alive, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)[2]}}
end
redis.call('HSET', KEYS[1], 'doc', ARGV[1], 'version', ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
use(tonumber(ARGV[3]), ARGV[4])
return {{'ok', now}}
"""

# KEYS: conversation, index; ARGV: ttl, id, response that claims the turn or '', milliseconds of the claim
GET = f"""{_CLOCK}{_USE}
local doc = redis.call('HGET', KEYS[1], 'doc')
if not doc then return {{'gone', now}} end
if ARGV[3] ~= '' then
  if taken('turn', ARGV[3]) then return {{'busy', now}} end
  redis.call('HSET', KEYS[1], 'turn', ARGV[3], 'turn_until', now + ARGV[4])
end
use(tonumber(ARGV[1]), ARGV[2])
return {{'ok', now, doc}}
"""

# KEYS: conversation, index; ARGV: document, version read, version written, ttl, id, response that ends or ''
REPLACE = f"""{_CLOCK}{_USE}
if redis.call('HGET', KEYS[1], 'version') ~= ARGV[2] then return {{'outdated', now}} end
if ARGV[6] ~= '' and taken('turn', ARGV[6]) then return {{'busy', now}} end
redis.call('HSET', KEYS[1], 'doc', ARGV[1], 'version', ARGV[3])
if ARGV[6] ~= '' then redis.call('HDEL', KEYS[1], 'turn', 'turn_until') end
use(tonumber(ARGV[4]), ARGV[5])
return {{'ok', now}}
"""

# KEYS: conversation, index; ARGV: id
DELETE = f"""{_CLOCK}
redis.call('ZREM', KEYS[2], ARGV[1])
return {{redis.call('DEL', KEYS[1]) == 1 and 'ok' or 'gone', now}}
"""

# KEYS: conversation; ARGV: what, holder, milliseconds
CLAIM = f"""{_CLOCK}{_USE}
if redis.call('EXISTS', KEYS[1]) == 0 then return {{'gone', now}} end
if taken(ARGV[1], ARGV[2]) then return {{'busy', now}} end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2], ARGV[1] .. '_until', now + ARGV[3])
return {{'ok', now}}
"""

# KEYS: conversation; ARGV: what, holder
GIVE_BACK = f"""{_CLOCK}
if redis.call('HGET', KEYS[1], ARGV[1]) == ARGV[2] then redis.call('HDEL', KEYS[1], ARGV[1], ARGV[1] .. '_until') end
return {{'ok', now}}
"""

# KEYS: conversation; ARGV: what
HOLDER = f"""{_CLOCK}
local claim = redis.call('HMGET', KEYS[1], ARGV[1], ARGV[1] .. '_until')
if claim[1] and tonumber(claim[2]) > now then return {{'ok', now, claim[1]}} end
return {{'gone', now}}
"""
