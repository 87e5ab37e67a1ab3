# Sidekiq, with its default settings; with BENCH_RELIABLE, GitLab's reliable fetch. The jobs do what work.py says.
# `ruby sidekiq_app.rb produce` is the producer: see producer.py.
require "fiddle"
require "json"
require "sidekiq"

# Without this the client library writes a warning about Sidekiq 6.4 for every push, which would be charged to Sidekiq.
Redis.sadd_returns_boolean = false if Redis.respond_to?(:sadd_returns_boolean=)

FOLDER = ENV.fetch("BENCH_FOLDER")
RELIABLE = ENV.key?("BENCH_RELIABLE")
require "sidekiq-reliable-fetch" if RELIABLE

module Work
  PAUSE = 0.01
  LOOK = 0.02

  # Ruby has no mmap of its own.
  def self.map(path)
    types = [Fiddle::TYPE_VOIDP, Fiddle::TYPE_SIZE_T, Fiddle::TYPE_INT, Fiddle::TYPE_INT, Fiddle::TYPE_INT, Fiddle::TYPE_LONG]
    mmap = Fiddle::Function.new(Fiddle.dlopen(nil)["mmap"], types, Fiddle::TYPE_VOIDP)
    read_and_write, shared = 3, 1
    File.open(path, "r+b") do |file|
      Fiddle::Pointer.new(mmap.call(nil, file.size, read_and_write, shared, file.fileno, 0).to_i, file.size)
    end
  end

  RAN = map("#{FOLDER}/ran")

  def self.now
    Process.clock_gettime(Process::CLOCK_MONOTONIC, :nanosecond)
  end

  def self.note(name, *words)
    File.open("#{FOLDER}/#{name}", "a") { |file| file.syswrite(words.join(" ") + "\n") }
  end
end

class Count
  include Sidekiq::Worker
  def perform(number)
    Work::RAN[number] = 1
  end
end

class Pause
  include Sidekiq::Worker
  def perform(number)
    sleep Work::PAUSE
    Work::RAN[number] = 1
  end
end

class Stamp
  include Sidekiq::Worker
  def perform(number, sent)
    Work.note("stamps", sent, Work.now)
    Work::RAN[number] = 1
  end
end

class Warm
  include Sidekiq::Worker
  def perform(number)
    Work.note("warm", Process.pid)
    sleep Work::PAUSE
    Work::RAN[number] = 1
  end
end

class Hold
  include Sidekiq::Worker
  def perform(token)
    Work.note("holds", token, Process.pid, Work.now)
    sleep Work::LOOK until File.exist?("#{FOLDER}/end")
  end
end

JOBS = { "count" => Count, "pause" => Pause, "stamp" => Stamp, "warm" => Warm, "hold" => Hold }.freeze

Sidekiq.configure_server do |config|
  config.redis = { url: ENV.fetch("BENCH_URL") }
  config.logger.level = Logger::WARN
  Sidekiq::ReliableFetch.setup_reliable_fetch!(config) if RELIABLE
end
Sidekiq.configure_client { |config| config.redis = { url: ENV.fetch("BENCH_URL") } }

def stamps(job, order)
  done = "#{FOLDER}/stamps"
  (order["first"]...order["first"] + order["count"]).each do |number|
    break if Work.now - $began > order["within"] * 1e9
    sleep order["gap"] * (0.5 + rand) + order["poll"] * rand
    size = File.exist?(done) ? File.size(done) : 0
    job.perform_async(number, Work.now)
    sleep 0.002 while !File.exist?(done) || File.size(done) == size
  end
end

def obey(order)
  job = JOBS[order["job"]]
  case order["do"]
  when "one" then job.perform_async(*order["args"])
  when "stamps" then stamps(job, order)
  when "each" then order["count"].times { |at| job.perform_async(order["first"] + at) }
  when "bulk"
    (order["first"]...order["first"] + order["count"]).each_slice(1000) do |numbers|
      Sidekiq::Client.push_bulk("class" => job, "args" => numbers.map { |number| [number] })
    end
  end
end

if ARGV == ["produce"]
  $stdout.sync = true
  $stdin.each_line do |line|
    $began = Work.now
    obey(JSON.parse(line))
    puts JSON.generate((Work.now - $began) / 1e9)
  end
end
