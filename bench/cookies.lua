-- A script for wrk. Each request carries the cookie of a random session.
-- Usage: wrk -s cookies.lua URL -- METHOD FILE
-- FILE has the value of a Cookie header on each line. At the end the script prints one line:
-- requests per second, the median and the 99th percentile of the response time in ms, and the number
-- of failed requests.

local requests = {}

function init(arguments)
    math.randomseed(os.time())
    for cookie in io.lines(arguments[2]) do
        requests[#requests + 1] = wrk.format(arguments[1], nil, { Cookie = cookie })
    end
end

function request()
    return requests[math.random(#requests)]
end

function done(summary, latency)
    local errors = summary.errors
    local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
    local rate = summary.requests / summary.duration * 1e6
    local median, p99 = latency:percentile(50) / 1000, latency:percentile(99) / 1000
    io.write(string.format('%.1f %.3f %.3f %d\n', rate, median, p99, failed))
end
