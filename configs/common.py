"""Every configuration key with its default, unit and meaning; nothing else holds defaults.

Not a recipe: recipes call `get_config()` and change what they need. Any key can be set on the command line, for example
`--config.train.batch_size=16`. Sources of the values: StyleGAN2 (Karras et al. 2020, config F) unless said otherwise.
"""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    """Return StyleGAN2 config F at 256x256 with no data set chosen."""
    c = ml_collections.ConfigDict()
    c.name = "stylegan2"  # used in logs and figure titles
    c.model = _model()
    c.data = _data()
    c.loss = _loss()
    c.augment = _augment()
    c.train = _train()
    c.growing = _growing()
    c.mesh = _mesh()
    c.distributed = _distributed()
    c.log = _log()
    c.eval = _eval()
    return c


def _model() -> ml_collections.ConfigDict:
    """Architecture of both networks."""
    m = ml_collections.ConfigDict()
    m.arch = "stylegan2"  # which entry of models.ARCHS
    m.resolution = 256  # image height in pixels: base height times a power of two
    m.base_size = (4, 4)  # (h, w) of the learned constant and of the last block of D; width = resolution * w / h
    m.img_channels = 3  # 1 grey, 3 RGB, 4 RGBA
    m.label_dim = -1  # length of a label; -1: from the data when data.labels is not 'none', else 0
    m.z_dim = 512  # latent size
    m.w_dim = 512  # style size
    m.mapping_layers = 8  # fully connected layers of the mapping network
    m.mapping_lr_mult = 0.01  # learning-rate multiplier of the mapping network
    m.mapping_embed_dim = 0  # size of the embedded label; 0: w_dim
    m.mapping_layer_dim = 0  # size of the hidden mapping layers; 0: w_dim
    m.channel_base = 32768  # channels(r) = min(channel_base // r, channel_max)
    m.channel_max = 512
    m.g_arch = "skip"  # generator: skip, resnet, orig (SG2 fig. 7)
    m.d_arch = "resnet"  # discriminator: resnet, skip, orig
    m.grows = (
        False  # RGB layers at every resolution, for progressive growing; stylegan1, or stylegan2 with orig and orig
    )
    m.use_noise = True  # per-layer noise inputs
    m.activation = "lrelu"  # of the convolutions; see ops/bias_act.py
    m.resample_filter = (1.0, 3.0, 3.0, 1.0)  # FIR taps of every up- and downsampling
    m.conv_clamp = 256.0  # activations are clamped to ±this after each convolution (ADA app. C); 0: none
    m.compute_dtype = "auto"  # of the lowp blocks: auto = bfloat16 on TPU and GPU, float32 on CPU
    m.num_lowp_res = 4  # how many of the highest resolutions use compute_dtype
    m.remat_from = 0  # heights from this on are computed twice rather than stored, for less memory; 0: none
    m.d_mapping_layers = 8  # layers that map the label inside the discriminator
    m.d_mapping_lr_mult = 0.01
    m.cmap_dim = 0  # size of the mapped label in the discriminator; 0: its channel count at 4x4
    m.mbstd_group = 4  # images per minibatch-stddev group; must divide the batch
    m.mbstd_channels = 1  # statistics channels appended by minibatch stddev; 0: none
    m.stylegan1 = _stylegan1()
    m.stylegan3 = _stylegan3()
    return m


def _stylegan1() -> ml_collections.ConfigDict:
    """Of arch 'stylegan1' only: the switches of SG1 table 1 (F here); model.g_arch and d_arch mean nothing there."""
    s = ml_collections.ConfigDict()
    s.use_styles = True  # AdaIN after every layer; without, w is the input of the first layer only
    s.const_input = True  # a learned constant instead of a dense layer on w
    s.use_pixel_norm = False  # normalise every pixel's feature vector (ProGAN)
    s.use_instance_norm = True  # normalise every feature map, the first half of AdaIN
    s.blur_filter = (1.0, 2.0, 1.0)  # FIR taps after upsampling and before downsampling; (1,): none, as in ProGAN
    return s


def _stylegan3() -> ml_collections.ConfigDict:
    """Of arch 'stylegan3' only; model.g_arch and use_noise mean nothing there."""
    s = ml_collections.ConfigDict()
    s.num_layers = 14  # synthesis layers before the RGB one
    s.num_critical = 2  # of them, critically sampled ones at the end
    s.first_cutoff = 2.0  # cutoff frequency of the first layer, cycles per image height
    s.first_stopband = 2**2.1  # its stopband, where the filters have full attenuation
    s.last_stopband_rel = 2**0.3  # stopband of the last layer, in units of its cutoff (half the image height)
    s.margin_size = 10  # extra samples on every side of all but the last layers
    s.output_scale = 0.25  # factor of the image
    s.conv_kernel = 3  # 3: T, 1: R
    s.filter_size = 6  # taps of a filter per factor of its resampling
    s.lrelu_upsampling = 2  # rate of the leaky ReLU, in units of the layer's higher rate
    s.use_radial_filters = False  # R: radially symmetric downsampling filters, but in critically sampled layers
    s.channel_base = 0  # of the generator: channels(cutoff) = min(channel_base / 2 / cutoff, channel_max);
    s.channel_max = 0  # 0: model.channel_base, model.channel_max, which are those of the discriminator
    s.magnitude_ema_kimg = 20.0  # half-life of the average of input magnitudes, thousands of images
    return s


def _data() -> ml_collections.ConfigDict:
    """Where images come from."""
    d = ml_collections.ConfigDict()
    d.source = "zip"  # zip, folder, tfds, memory (npy/npz uint8), synthetic
    d.path = ""  # file or folder; for tfds the data set name, such as 'cifar10'
    d.split = "train"  # tfds only
    d.labels = "none"  # none, file (dataset.json or the source's own), subfolders; arrays and synthetic bring theirs
    d.xflip = False  # add the copy of every image that is mirrored left to right
    d.yflip = False  # add the copy that is mirrored top to bottom; with xflip also that of both: four in all
    d.subset = 0  # train on so many images, chosen at random (a larger subset contains the smaller); 0: all
    d.subset_seed = 0  # which images data.subset chooses
    d.on_bad_image = "error"  # error: refuse to start and name it; skip: leave it out and count it
    d.resize_filter = "box"  # box, lanczos; used when images differ from the model's resolution
    d.cache = "auto"  # decoded images: off, host (RAM), device; auto = host when they fit cache_limit_mb
    d.cache_limit_mb = 2048
    d.workers = 2  # decoding threads of the tf.data pipeline
    d.synthetic_images = 1024  # data.source='synthetic': how many
    d.synthetic_labels = 0  # data.source='synthetic': classes; 0 = none
    return d


def _loss() -> ml_collections.ConfigDict:
    """Adversarial loss and regularisers."""
    q = ml_collections.ConfigDict()
    q.adversarial = "logistic"  # logistic (non-saturating), hinge, minimax (saturating), wasserstein
    q.d_reg = "r1"  # r1, wgan_gp, none
    q.r1_gamma = 10.0  # R1 weight: gamma/2 * |grad|^2
    q.gp_weight = 10.0  # WGAN-GP weight (lambda)
    q.d_reg_interval = 16  # iterations between discriminator regularisations (lazy); 0: part of every step (SG1)
    q.drift_weight = 0.0  # weight of the squared logits of reals, which keeps a Wasserstein critic near 0 (PG: 0.001)
    q.pl_weight = 2.0  # path-length weight; 0: off
    q.pl_decay = 0.01  # running mean of the path length
    q.pl_batch_shrink = 2  # path length uses batch_size / this
    q.g_reg_interval = 4  # iterations between path-length regularisations (lazy)
    q.pl_start_kimg = 0.0  # path length is off before this many thousands of images
    q.style_mixing_prob = 0.9  # probability of two latents per batch
    q.blur_init_sigma = 0.0  # pixels; blur of all images that the discriminator sees, at the start; 0: none
    q.blur_fade_kimg = 0.0  # the blur fades linearly to none over this many thousands of images
    return q


def _augment() -> ml_collections.ConfigDict:
    """What happens to reals and fakes before the discriminator (StyleGAN2-ADA)."""
    a = ml_collections.ConfigDict()
    a.mode = "none"  # none; fixed: strength p; ada: p is steered (ADA §3.3)
    a.method = "ada"  # ada: the pipe below; diffaugment
    a.pipe = "bgc"  # ada: blit, geom, color, filter, noise, cutout, bg, bgc, bgcf, bgcfn, bgcfnc
    a.p = 0.0  # strength, the probability of each operation; mode 'ada' starts from it
    a.p_max = 1.0  # ceiling of the steered p, from where all operations act always (official code: none)
    a.target = 0.6  # of mean(sign(D(real))), which p is steered to
    a.interval = 4  # iterations between two moves of p
    a.kimg = 500.0  # thousands of images in which p can go from 0 to 1 (100 when fine-tuning)
    a.ops = _ops()
    a.strength = _strength()
    a.diffaugment = _diffaugment()
    return a


def _ops() -> ml_collections.ConfigDict:
    """Multiplier of p per operation; 0: off, -1: as the pipe says (0 or 1)."""
    o = ml_collections.ConfigDict()
    o.xflip = -1.0
    o.rotate90 = -1.0
    o.xint = -1.0
    o.scale = -1.0
    o.rotate = -1.0
    o.aniso = -1.0
    o.xfrac = -1.0
    o.brightness = -1.0
    o.contrast = -1.0
    o.lumaflip = -1.0
    o.hue = -1.0
    o.saturation = -1.0
    o.imgfilter = -1.0
    o.noise = -1.0
    o.cutout = -1.0
    return o


def _strength() -> ml_collections.ConfigDict:
    """Distributions of the operations (ADA App. B)."""
    s = ml_collections.ConfigDict()
    s.xint_max = 0.125  # whole-pixel translation: uniform in ±this, in image sizes
    s.scale_std = 0.2  # of the log2 of the scale
    s.rotate_max = 1.0  # rotation: uniform in ±this, 1 = 180 degrees
    s.aniso_std = 0.2  # of the log2 of the anisotropic scale
    s.xfrac_std = 0.125  # of the translation, in image sizes
    s.brightness_std = 0.2  # of what is added; images are in [-1, 1]
    s.contrast_std = 0.5  # of the log2 of the contrast
    s.hue_max = 1.0  # hue rotation: uniform in ±this, 1 = 180 degrees
    s.saturation_std = 1.0  # of the log2 of the saturation
    s.imgfilter_std = 1.0  # of the log2 of a band's amplification
    s.imgfilter_bands = (1.0, 1.0, 1.0, 1.0)  # multipliers per band, lowest frequencies first
    s.noise_std = 0.1  # the noise's standard deviation is half-normal with this scale
    s.cutout_size = 0.5  # sides of the rectangle, in image sizes
    return s


def _diffaugment() -> ml_collections.ConfigDict:
    """Policies and sizes of DiffAugment."""
    f = ml_collections.ConfigDict()
    f.policy = "color,translation,cutout"  # any of these
    f.translation = 0.125  # largest shift, in image sizes
    f.cutout = 0.5  # sides of the rectangle, in image sizes (StyleGAN-XL: 0.2)
    return f


def _train() -> ml_collections.ConfigDict:
    """Length, optimisers and averages."""
    t = ml_collections.ConfigDict()
    t.batch_size = 32  # images per iteration, over all devices
    t.total_kimg = 25000.0  # length of training in thousands of images shown
    t.seed = 0
    t.g_lr = 0.002  # Adam, before the lazy-regularisation correction
    t.d_lr = 0.002
    t.beta1 = 0.0
    t.beta2 = 0.99
    t.eps = 1e-8
    t.ema_kimg = 10.0  # half-life of the generator average, thousands of images
    t.ema_rampup = 0.0  # half-life is at most this times the images shown so far; 0: no ramp
    t.w_avg_beta = 0.995  # decay of the w average, per iteration (SG2, ADA; stylegan3 repository: 0.998)
    t.init_from = ""  # start from these weights: a workdir, a model folder or an official .pkl (G, D and average)
    t.grad_accum = 1  # micro-batches per step, for less memory; same result, stylegan3 (docs) nearly; 1: off
    t.lr_warmup_kimg = 0.0  # both learning rates rise linearly over this many thousands of images; 0: off
    t.on_nan = "halt"  # NaN or infinity: halt, skip the step, scrub the gradient, rollback to the last checkpoint
    t.max_rollbacks = 3  # on_nan='rollback': halt after this many in one run
    t.early_stop_kimg = 0.0  # stop once log.keep_best has not improved for this many thousands of images; 0: off
    t.freeze_d = 0  # Freeze-D: first so many discriminator layers, counted from the image, are not trained; 0: none
    t.freeze_mapping = "none"  # what of the mapping network is not trained: none, embed (the label embedding), all
    t.num_devices = 0  # 0: all; else the first so many
    t.compilation_cache = "auto"  # folder of compiled programs; auto: in the user's cache folder; off
    return t


def _growing() -> ml_collections.ConfigDict:
    """Progressive growing (PG §2; values of SG1): needs model.grows."""
    g = ml_collections.ConfigDict()
    g.start = 0  # image height to begin with, as 8; 0: no growing
    g.train_kimg = 600.0  # thousands of images per height before the next is faded in
    g.fade_kimg = 600.0  # thousands of images over which it is
    g.batch_sizes = ()  # one for each height below the last, whose is train.batch_size; (): that everywhere
    g.learning_rates = ()  # the same, of both networks; (): train.g_lr and d_lr
    g.reset_moments = True  # Adam starts anew when a fade begins and when it is over, as in the original
    return g


def _mesh() -> ml_collections.ConfigDict:
    """How devices share the work: devices = data x fsdp x spatial, data being what is left."""
    x = ml_collections.ConfigDict()
    x.fsdp = 1  # share of devices over which parameters, optimiser moments and averages are split, the batch too
    x.spatial = 1  # devices over which the height of images and activations is split, for large images
    return x


def _distributed() -> ml_collections.ConfigDict:
    """The processes of a run on many hosts."""
    n = ml_collections.ConfigDict()
    n.mode = (
        "auto"  # auto: find the other processes of a TPU slice, SLURM, Open MPI or GKE job; off: this process alone
    )
    n.coordinator = ""  # elsewhere: host:port of process 0, the same on every process
    n.num_processes = 0  # elsewhere: how many processes
    n.process_id = -1  # elsewhere: number of this process, from 0
    n.start_timeout_s = 300  # seconds to wait for all processes at the start
    n.heartbeat_s = 100  # a process silent for so many seconds ends the run on all
    return n


def _log() -> ml_collections.ConfigDict:
    """Reports, grids and checkpoints."""
    g = ml_collections.ConfigDict()
    g.tick_kimg = 4.0  # thousands of images per progress line
    g.grid_ticks = 50  # ticks between image grids
    g.checkpoint_ticks = 50  # ticks between checkpoints
    g.keep_latest = 2  # newest checkpoints kept
    g.keep_every_kimg = 0.0  # also keep one checkpoint per this many kimg; 0: no
    g.keep_best = ""  # also keep the checkpoint with the best value of this name in stats.jsonl, as 'loss/d_penalty'
    g.best_mode = "min"  # which values are better: min, max
    g.tensorboard = True  # write TensorBoard events (needs TensorFlow)
    g.grid_columns = 8
    g.grid_rows = 6
    g.progress_bar = True  # live bar when the error output is a terminal
    return g


def _eval() -> ml_collections.ConfigDict:
    """Metrics of the averaged generator while it trains; docs/metrics.md."""
    e = ml_collections.ConfigDict()
    e.metrics = ""  # names separated by commas, as 'fid5k,kid1k'; log.keep_best can take 'metric/fid5k'; '': none
    e.ticks = 50  # ticks between evaluations
    e.num_images = 0  # evaluate so many images instead of the metric's number, under another name; 0: the metric's
    e.features = ""  # other feature networks, separated by commas, under another name; '': the definitions'
    e.features_path = ""  # their weights: a path, or net=path,… for several; '': where models.features looks
    e.batch = 16  # images per device at a time
    e.cache = "auto"  # folder of the reals' statistics; auto: in the user's cache folder; off
    return e
